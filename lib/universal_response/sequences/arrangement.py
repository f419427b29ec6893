"""How random tokens stand in a sequence: the paper's repeated block, and controls of it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

SAME, SHUFFLED, OTHER = "same", "shuffled", "other"
LATER = (SAME, SHUFFLED, OTHER)


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """Blocks of random tokens, one after the other; the defaults are the paper's (Fig. 1).

    Attributes:
        later: what stands in later blocks: the `same` tokens, the same `shuffled`, or `other` ones.
        copies: number of blocks.
        gap: other random tokens between two blocks.
        bos: the sequence begins with the model's BOS token.

    Raises:
        ValueError: an attribute is out of range.
    """

    later: str = SAME
    copies: int = 2
    gap: int = 0
    bos: bool = False

    def __post_init__(self) -> None:
        if self.later not in LATER:
            raise ValueError(f"later={self.later}: choose one of {', '.join(LATER)}")
        if self.copies < 2:
            raise ValueError(f"copies={self.copies}: use at least 2")
        if self.gap < 0:
            raise ValueError(f"gap={self.gap}: use a gap >= 0")

    def length(self, t0: int) -> int:
        """Tokens of a sequence, T, for blocks of t0."""
        return int(self.bos) + self.copies * t0 + (self.copies - 1) * self.gap

    def distance(self, t0: int) -> int | None:
        """The dj at which induction has its peak, T0 - 1 + gap; None where nothing repeats."""
        return t0 - 1 + self.gap if self.later == SAME else None


PAPER = Arrangement()


def arranged_random_tokens(
    t0: int,
    batch: int,
    vocabulary_size: int,
    generator: np.random.Generator,
    arrangement: Arrangement = PAPER,
    distinct: bool = False,
    bos: int | None = None,
) -> Int[np.ndarray, "batch token"]:
    """Draw `batch` sequences of blocks of `t0` random tokens.

    Tokens are drawn sequence by sequence, so the first sequences of a large batch are those of a
    smaller batch with the same seed; first blocks of uniform tokens are the same in every
    arrangement.

    Args:
        t0: length T0 of a block, at least 2.
        batch: number of sequences, at least 1.
        vocabulary_size: tokens are uniform on 0 .. vocabulary_size - 1.
        generator: source of randomness, for example `numpy.random.default_rng(seed)`.
        arrangement: of the blocks.
        distinct: no token twice but by repetition; else some meet themselves by chance.
        bos: id of the BOS token, if the arrangement has it.

    Returns:
        int64 array (batch, arrangement.length(t0)).

    Raises:
        ValueError: t0, batch or vocabulary_size too small, or no BOS token.
    """
    check_block(t0)
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one sequence is needed; use batch >= 1")
    if arrangement.bos and bos is None:
        raise ValueError("bos: the model has no BOS token; leave it out")
    later, gap = arrangement.copies - 1, arrangement.gap
    other = later * t0 if arrangement.later == OTHER else 0
    others, orders = generator.spawn(2)
    numbers = (t0, other + later * gap)
    if distinct:
        drawn = _distinct_tokens(sum(numbers), batch, vocabulary_size, generator)
    else:
        drawn = _uniform_tokens(numbers, batch, vocabulary_size, (generator, others))
    first, block, between = np.split(drawn, [t0, t0 + other], axis=1)
    blocks = (block if other else np.tile(first, later)).reshape(batch, later, t0)
    if arrangement.later == SHUFFLED:
        blocks = orders.permuted(blocks, axis=2)
    parts = np.concatenate([between.reshape(batch, later, gap), blocks], axis=2)
    start = np.full((batch, int(arrangement.bos)), bos or 0, dtype=np.int64)
    return np.concatenate([start, first, parts.reshape(batch, -1)], axis=1)


def repeated_random_tokens(
    t0: int,
    batch: int,
    vocabulary_size: int,
    generator: np.random.Generator,
    distinct: bool = False,
) -> Int[np.ndarray, "batch {2*t0}"]:
    """Blocks of `t0` random tokens, each repeated once, as in the paper.

    Arguments and errors are those of `arranged_random_tokens`.

    Args:
        t0: length T0 of the block, at least 2; the sequence has T = 2 T0 tokens, with no BOS token.
        batch: number of sequences, at least 1.
        vocabulary_size: tokens are uniform on 0 .. vocabulary_size - 1.
        generator: source of randomness.
        distinct: draw every block without replacement, so that no token meets itself by chance.
    """
    return arranged_random_tokens(t0, batch, vocabulary_size, generator, PAPER, distinct)


def _uniform_tokens(
    numbers: tuple[int, ...],
    batch: int,
    vocabulary_size: int,
    generators: tuple[np.random.Generator, ...],
) -> np.ndarray:
    """So many tokens from each generator."""
    if vocabulary_size < 2:
        raise ValueError(f"vocabulary_size={vocabulary_size}: at least 2 tokens are needed")
    parts = [
        generator.integers(vocabulary_size, size=(batch, number), dtype=np.int64)
        for number, generator in zip(numbers, generators, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _distinct_tokens(
    number: int, batch: int, vocabulary_size: int, generator: np.random.Generator
) -> np.ndarray:
    if vocabulary_size < number:
        raise ValueError(
            f"distinct: {vocabulary_size} tokens do not make {number} distinct ones; use a shorter "
            "block or gap"
        )
    rows = [generator.choice(vocabulary_size, number, replace=False) for _ in range(batch)]
    return np.stack(rows).astype(np.int64)


def check_block(t0: int) -> None:
    """Refuse a block of random tokens that is too short to be repeated.

    Raises:
        ValueError: t0 < 2.
    """
    if t0 < 2:
        raise ValueError(f"t0={t0}: the repeated block needs at least 2 tokens; use t0 >= 2")
