"""Reading an answer: of the expected kind or not, given or still dots."""

from typing import Any

import numpy as np


class Unanswered(Exception):
    """The dots are still there."""


class WrongKind(Exception):
    """The answer is no number, no function, ...: says what it should be."""


def holds_dots(answer: Any) -> bool:
    if isinstance(answer, dict):
        answer = tuple(answer.values())
    if isinstance(answer, tuple | list):
        return any(map(holds_dots, answer))
    return answer is ...


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


def word(answer: Any) -> str:
    """Also as a numpy or xarray scalar."""
    found = np.asarray(answer)
    if found.ndim or not isinstance(found.item(), str):
        raise WrongKind("a name in quotation marks")
    return str(found)


def head(answer: Any) -> tuple[float, float]:
    layer, of_layer = pair(answer, "a head, (layer, head)")
    return number(layer), number(of_layer)


def powers(answer: Any, names: tuple[str, ...] = ("delta", "phi")) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != set(names):
        *others, last = (f'"{name}"' for name in names)
        raise WrongKind(f"a power each for {', '.join(others)} and {last}, as a dict")
    return {name: number(power) for name, power in answer.items()}


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
