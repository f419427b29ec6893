"""Elements computed anew in float64, where a change is too strong for the form for weak ones."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Number = float | int


def leaves(numbers: Tensor, low: Number, high: Number) -> bool:
    """Whether some number is outside; taken for granted where to ask would mean to wait."""
    if numbers.device.type != "cpu":
        return True
    least, most = torch.aminmax(numbers)
    return not (float(least) >= low and float(most) <= high)


def exact_dtype(like: Tensor) -> torch.dtype:
    """float64, where the device has it."""
    return like.dtype if like.device.type == "mps" else torch.float64


def replaced(
    found: Tensor, rare: Tensor, formula: Callable[..., Tensor], arguments: Sequence[Tensor]
) -> Tensor:
    """`found`, with the elements (or rows) `rare` computed by `formula` instead.

    On a processor only those are computed. Elsewhere all are: to ask which would mean to wait.
    """
    if found.device.type != "cpu":
        instead = formula(*arguments).to(found.dtype)
        return torch.where(rare if rare.ndim == found.ndim else rare[..., None], instead, found)
    if rare.any():
        found[rare] = formula(*(each[rare] for each in arguments)).to(found.dtype)
    return found
