"""What a model is trained on, what is held out at random, and what is withheld as a kind."""

from dataclasses import dataclass

import numpy as np

from universal_response.arithmetic.problems import Problems, all_problems, is_cascade

WITHHELD = ("nothing", "cascades", "block")
HELD_OUT = 0.1  # of what is not withheld
BLOCK = (0.4, 0.6)  # of the range of either operand


@dataclass(frozen=True)
class Split:
    """All problems of so many digits, each in one of three parts.

    Attributes:
        training: what is learned from.
        held_out: of the same kind, drawn at random.
        withheld: of a kind that training has none of.
    """

    training: Problems
    held_out: Problems
    withheld: Problems


def split(withheld: str = "nothing", seed: int = 0, digits: int = 2) -> Split:
    """Part all problems.

    Args:
        withheld: `nothing`; `cascades`, in which a carry or borrow makes the next; or `block`,
            in which both operands lie in the middle fifth of their range.
        seed: of what is held out.
        digits: of an operand.

    Raises:
        ValueError: another name, or a negative seed.
    """
    check_split(withheld, seed)
    problems = all_problems(digits)
    apart = {
        "nothing": lambda: np.zeros(len(problems), dtype=bool),
        "cascades": lambda: is_cascade(problems),
        "block": lambda: _in_block(problems),
    }[withheld]()
    drawn = np.random.default_rng(seed).random(len(problems)) < HELD_OUT
    return Split(problems[~apart & ~drawn], problems[~apart & drawn], problems[apart])


def check_split(withheld: str, seed: int) -> None:
    """Refuse a split that there is not.

    Raises:
        ValueError: another name than one of `WITHHELD`, or a negative seed.
    """
    if withheld not in WITHHELD:
        raise ValueError(f"withheld={withheld}: choose one of {', '.join(WITHHELD)}")
    if seed < 0:
        raise ValueError(f"seed={seed}: use a seed >= 0")


def _in_block(problems: Problems) -> np.ndarray:
    low, high = (part * 10**problems.digits for part in BLOCK)
    inside = [(low <= each) & (each < high) for each in (problems.first, problems.second)]
    return inside[0] & inside[1]
