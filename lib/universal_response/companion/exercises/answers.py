"""Reading an answer: of the expected kind or not, given or still dots."""

from typing import Any

import numpy as np


class Unanswered(Exception):
    """The dots are still there."""


class WrongKind(Exception):
    """The answer is no number, no function, ...: says what it should be."""


def holds_dots(answer: Any) -> bool:
    parts = answer.values() if isinstance(answer, dict) else answer
    return answer is ... or (
        isinstance(answer, tuple | list | dict) and any(part is ... for part in parts)
    )


def number(answer: Any) -> float:
    """A single finite number, also as a numpy or xarray scalar."""
    try:
        value = np.asarray(answer)
    except Exception:
        raise WrongKind("a number") from None
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise WrongKind("a number")
    return float(value.reshape(()))


def pair(answer: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise WrongKind(what)
    return answer[0], answer[1]


def powers(answer: Any) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != {"delta", "phi"}:
        raise WrongKind('a power each for "delta" and "phi", as a dict')
    return {metric: number(power) for metric, power in answer.items()}


def call(function: Any, *arguments: Any) -> Any:
    if not callable(function):
        raise WrongKind("a function (its name, without brackets)")
    result = function(*arguments)
    if holds_dots(result):
        raise Unanswered
    return result


def matches(result: Any, expected: Any, rtol: float) -> bool:
    """Numbers of the expected shape and values."""
    try:
        found = np.asarray(result)
    except Exception:
        return False
    expected = np.asarray(expected)
    if found.dtype.kind not in "iuf" or found.shape != expected.shape:
        return False
    return bool(np.allclose(found, expected, rtol=rtol, atol=0))


def near(answer: Any, truth: float, rtol: float = 0.0, atol: float = 0.0) -> bool:
    return abs(number(answer) - float(truth)) <= rtol * abs(float(truth)) + atol


def slope(strengths: Any, values: Any) -> float:
    """Power of the strength with which values grow, by least squares on logarithms."""
    return float(np.polyfit(np.log(strengths), np.log(values), 1)[0])
