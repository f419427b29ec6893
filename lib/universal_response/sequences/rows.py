"""Token ids that are given: rows of equal length."""

from collections.abc import Sequence
from operator import index
from typing import Any


def token_rows(tokens: Any) -> tuple[tuple[int, ...], ...]:
    """The tokens as tuples of int.

    Raises:
        ValueError: no rows of whole numbers.
    """
    try:
        return tuple(tuple(index(token) for token in row) for row in tokens)
    except TypeError:
        raise ValueError(
            "tokens: not an array (sequence, token) of whole numbers; give a list of token ids for "
            "each sequence"
        ) from None


def check_rows(rows: Sequence[Sequence[int]], t0: int) -> None:
    """Check that sequences can be measured together and that a block of t0 tokens is repeated.

    Raises:
        ValueError: none, ragged, a single token, or no such block.
    """
    if not rows or len(rows[0]) < 2:
        raise ValueError("tokens: give at least one sequence of at least 2 tokens")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"tokens: sequence {number} has {len(row)} of them, sequence 0 has {len(rows[0])}; "
                "make all sequences equally long"
            )
        starts = range(len(row) - 2 * t0 + 1)
        repeats = any(row[at : at + t0] == row[at + t0 : at + 2 * t0] for at in starts)
        if t0 and (t0 < 2 or not repeats):
            raise ValueError(
                f"t0={t0}: sequence {number} does not hold a block of so many tokens (at least 2) "
                "twice in a row; use t0=0, with distance=dj if it repeats elsewhere"
            )
