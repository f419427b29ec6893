"""What the entries of the table are written with: values and changes of arguments, results."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.change import RULES, Carried, NoRule
from universal_response.propagation.pair import Pair, Pending


def now(argument: Any) -> Any:
    """An argument as it is before anything is written into it, also within lists and tuples."""
    if isinstance(argument, Carried):
        return argument.pair
    if isinstance(argument, list | tuple):
        return type(argument)(now(each) for each in argument)
    return argument


def value_of(argument: Any) -> Any:
    """The clean value of an argument, also within lists and tuples."""
    if isinstance(argument, Carried | Pair):
        return argument.value
    if isinstance(argument, list | tuple):
        return type(argument)(value_of(each) for each in argument)
    return argument


def change_of(argument: Any) -> Any:
    """The change of an argument, also within lists and tuples; other arguments as they are."""
    if isinstance(argument, Carried):
        return argument.change
    if isinstance(argument, list | tuple):
        return type(argument)(change_of(each) for each in argument)
    return argument


def value_and_change(state: Tensor) -> tuple[Tensor, Tensor | None]:
    """Of a tensor that may carry a change."""
    return (state.value, state.change) if isinstance(state, Carried) else (state, None)


def find(*arguments: Any) -> Carried:
    """The first carried tensor among the arguments."""
    for argument in arguments:
        if isinstance(argument, Carried):
            return argument
        if isinstance(argument, list | tuple):
            for each in argument:
                if isinstance(each, Carried):
                    return each
    raise TypeError("no argument carries a change")


def apply(function: Any, *arguments: Any, **named: Any) -> Any:
    """A function within a rule: by its own rule where an argument carries a change."""
    if any(isinstance(each, Carried) for each in arguments):
        return RULES[function](function, *arguments, **named)
    return function(*arguments, **named)


def made(
    function: Any,
    change: Tensor | Pending,
    arguments: Sequence[Any],
    named: dict[str, Any],
    like: Carried,
    dtype: torch.dtype | None = None,
) -> Carried:
    """The result of a function: its change, and its value once it is asked for."""
    clean = now(tuple(arguments))

    def value() -> Tensor:
        return function(*value_of(clean), **named)

    return Carried(value, change, like.terms, dtype or like.dtype)


def written(function: Any, carried: Any, found: Carried) -> Carried:
    """What a function that writes into its argument gives: the argument, with another content.

    Raises:
        NoRule: the argument carries no change, or is a view or has one, which would change too.
    """
    if not isinstance(carried, Carried) or carried.shared:
        raise NoRule(
            f"{function.__name__}: no rule for writing into a tensor that others may share"
        )
    carried.become(found.pair)
    return carried


def dtype_of(*arguments: Any) -> torch.dtype:
    kept = [a.dtype for a in arguments if isinstance(a, Tensor) and a.ndim > 0]
    found = kept[0] if kept else find(*arguments).dtype
    for dtype in kept[1:]:
        found = torch.promote_types(found, dtype)
    return found
