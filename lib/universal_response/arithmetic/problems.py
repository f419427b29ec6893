"""Problems of the task: sums and differences, written in digits with the result reversed.

a1 a0 + b1 b0 = r0 r1 r2: units of the result come first, as they need no carry (Lee et al. 2023,
*Teaching arithmetic to small transformers*).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Digits are tokens 0 to 9.
PLUS, MINUS, EQUALS = 10, 11, 12
VOCABULARY = 13


@dataclass(frozen=True)
class Problems:
    """Problems with operands of the same number of digits.

    Attributes:
        first, second: the operands, int (problem,).
        minus: whether the second is taken from the first, bool (problem,).
        digits: of an operand; a result has one more.

    Raises:
        ValueError: an operand does not fit its digits, or a difference would be negative.
    """

    first: np.ndarray
    second: np.ndarray
    minus: np.ndarray
    digits: int = 2

    def __post_init__(self) -> None:
        if self.digits < 1:
            raise ValueError(f"digits={self.digits}: use at least one")
        for name in ("first", "second"):
            values = getattr(self, name)
            wrong = values[(values < 0) | (values >= 10**self.digits)]
            if wrong.size:
                raise ValueError(
                    f"{name}={wrong[0]}: does not fit {self.digits} digits; use 0 to "
                    f"{10**self.digits - 1}"
                )
        negative = np.flatnonzero(self.minus & (self.first < self.second))
        if negative.size:
            k = negative[0]
            raise ValueError(
                f"{self.first[k]} - {self.second[k]}: a result is not negative; put the larger "
                "operand first"
            )

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, chosen: Any) -> "Problems":
        """Some of the problems, by a mask, a slice or numbers."""
        return Problems(self.first[chosen], self.second[chosen], self.minus[chosen], self.digits)

    @property
    def result(self) -> np.ndarray:
        """(problem,)."""
        return np.where(self.minus, self.first - self.second, self.first + self.second)

    def tokens(self) -> np.ndarray:
        """Token ids, int64 (problem, place), in the order of `places`."""
        sign = np.where(self.minus, MINUS, PLUS)[:, None]
        equals = np.full_like(sign, EQUALS)
        first, second = (_in_digits(each, self.digits) for each in (self.first, self.second))
        return np.concatenate([first, sign, second, equals, result_digits(self)], 1).astype(
            np.int64
        )


def places(digits: int = 2) -> list[str]:
    """Names of the places of a problem: digits of a and b, the greatest first, of r the least."""
    operands = [[f"{name}{k}" for k in reversed(range(digits))] for name in "ab"]
    return [*operands[0], "op", *operands[1], "=", *(f"r{k}" for k in range(digits + 1))]


def answer_places(n_places: int) -> slice:
    """Where digits of the result are predicted: at `=`, and at each of them but the last."""
    digits = (n_places - 3) // 3
    return slice(2 * digits + 1, n_places - 1)


def all_problems(digits: int = 2) -> Problems:
    """Every sum, then every difference that is not negative."""
    first, second = (each.ravel() for each in np.indices((10**digits, 10**digits)))
    some = first >= second
    return Problems(
        np.concatenate([first, first[some]]),
        np.concatenate([second, second[some]]),
        np.repeat([False, True], [first.size, some.sum()]),
        digits,
    )


def joined(parts: Sequence[Problems]) -> Problems:
    """Problems of several parts, one after another."""
    first, second, minus = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("first", "second", "minus")
    )
    return Problems(first, second, minus, parts[0].digits)


def problems_in(tokens: np.ndarray) -> Problems:
    """The problems that sequences of tokens pose, whatever result they give.

    Args:
        tokens: (problem, place), as `Problems.tokens` writes them.

    Raises:
        ValueError: something stands where it must not, or as for `Problems`.
    """
    digits, rest = divmod(tokens.shape[1] - 3, 3)
    if rest or digits < 1:
        raise ValueError(f"tokens: {tokens.shape[1]} places; a problem has 6, 9, 12 and so on")
    sign, equals = tokens[:, digits], tokens[:, 2 * digits + 1]
    operands = tokens[:, :digits], tokens[:, digits + 1 : 2 * digits + 1]
    if not np.isin(sign, (PLUS, MINUS)).all() or (equals != EQUALS).any():
        raise ValueError(f"tokens: place {digits} is + or -, place {2 * digits + 1} is =")
    if any(((each < 0) | (each > 9)).any() for each in operands):
        raise ValueError("tokens: operands are written in digits, 0 to 9")
    powers = 10 ** np.arange(digits)[::-1]
    return Problems(operands[0] @ powers, operands[1] @ powers, sign == MINUS, digits)


def carries(problems: Problems) -> np.ndarray:
    """Whether a place hands a carry, or in differences a borrow, to the next one.

    Returns:
        bool (problem, digit), the units first.
    """
    first, second = operand_digits(problems)
    found, carry = np.zeros_like(first, dtype=bool), np.zeros(len(problems), dtype=bool)
    for k in range(problems.digits):
        carry = found[:, k] = _outgrown(first[:, k], second[:, k], problems.minus, carry)
    return found


def is_cascade(problems: Problems) -> np.ndarray:
    """Whether a place carries, or borrows, only because the one before it does; (problem,)."""
    first, second = operand_digits(problems)
    alone = _outgrown(first, second, problems.minus[:, None], np.False_)
    return (carries(problems) & ~alone).any(1)


def _outgrown(
    first: np.ndarray, second: np.ndarray, minus: np.ndarray, carry: np.ndarray | np.bool_
) -> np.ndarray:
    """Whether digits with what was carried, or borrowed, leave the range of one."""
    return np.where(minus, first < second + carry, first + second + carry >= 10)


def result_digits(problems: Problems) -> np.ndarray:
    """Digits of the result, the units first, (problem, digit)."""
    return _in_digits(problems.result, problems.digits + 1)[:, ::-1]


def operand_digits(problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """Digits of both operands, the units first, (problem, digit)."""
    first, second = (
        _in_digits(each, problems.digits) for each in (problems.first, problems.second)
    )
    return first[:, ::-1], second[:, ::-1]


def _in_digits(numbers: np.ndarray, digits: int) -> np.ndarray:
    """(number, digit), the greatest first."""
    return numbers[:, None] // 10 ** np.arange(digits)[::-1] % 10
