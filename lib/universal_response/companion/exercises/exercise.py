"""What an exercise, a verdict on an answer and a session of the course are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import xarray as xr

SESSION_MINUTES = 90


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course.

    Attributes:
        name: what `check` knows it by.
        title: its heading.
        session: number of its session.
        difficulty: `easy`, `medium` or `hard`.
        minutes: expected time.
        check: whether an answer is right, given the results the session works with.
        hint: said when it is not; does not give the answer away.
    """

    name: str
    title: str
    session: int
    difficulty: str
    minutes: int
    check: Callable[[Any, xr.Dataset], bool]
    hint: str


@dataclass(frozen=True)
class Verdict:
    """What `check` found; true where the answer is right, and shown as its message.

    Attributes:
        right: whether the answer is right.
        message: the same in words, with a hint if it is not.
    """

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Session:
    """One session of the course.

    Attributes:
        number: from 1.
        title: its heading.
        plan: in order, minutes and what is explained, or the name of an exercise.
        results: shipped file whose results it works with, if no others are given.
        kind: of results it works with.
    """

    number: int
    title: str
    plan: tuple[tuple[int, str] | str, ...]
    results: str = "smollm2-135m"
    kind: str = "response"
