"""The change of any function's result, with no bridge and no packing."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.change import Carried
from universal_response.propagation.modules import carrying
from universal_response.propagation.pair import Terms


def carry(
    function: Callable[..., Any], value: Tensor, change: Tensor, limit: bool = False
) -> tuple[Tensor, Tensor]:
    """The change of a function's result, exact at any strength.

    Args:
        function: any function of a tensor that is made of operations with a rule, or a module.
        value: the clean argument.
        change: that is made to it, of the same shape; float64 for full precision.
        limit: leave out products of changes: the derivative of the function applied to `change`.

    Returns:
        function(value), and function(value + change) - function(value).

    Raises:
        NoRule: an operation has no rule (and is not inside a module that can be run by itself).
        ValueError: the shapes differ, or the result does not depend on the argument.
    """
    if value.shape != change.shape:
        raise ValueError(
            f"change: its shape {tuple(change.shape)} is not that of value, {tuple(value.shape)}"
        )
    inside: AbstractContextManager[Any] = nullcontext()
    if isinstance(function, torch.nn.Module):
        if change.dtype == torch.float64:
            function = copy.deepcopy(function).double()
        inside = carrying(function)
    with torch.no_grad(), inside:
        found = function(Carried(value.detach(), change.detach(), Terms(limit)))
        if isinstance(found, Carried):
            return found.value, found.change
    raise ValueError("function: its result does not depend on the argument")
