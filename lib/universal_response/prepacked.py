"""Linear layers on a CPU with their weights laid out for its kernels, once and beforehand."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.autograd import forward_ad

# The copies live as long as a measurement; a model that would need more runs without them.
PREPACKED_BYTES = 512 * 2**20


@contextmanager
def prepacked(model: torch.nn.Module, rows: int) -> Iterator[None]:
    """Let the linear layers of a model use copies of their weights in the layout of oneDNN.

    It makes such copies anyway, block by block and anew in every product. Nothing is done where
    PyTorch has no such kernels, for other devices and number types than float32 on a CPU, and where
    the copies would not fit into `PREPACKED_BYTES`.

    Args:
        model: whose `torch.nn.Linear` are meant.
        rows: the number of rows to lay out for; other numbers work as well.
    """
    layers = [layer for layer in model.modules() if type(layer) is torch.nn.Linear]
    small = sum(layer.weight.nbytes for layer in layers) <= PREPACKED_BYTES
    if not (_available() and small and all(map(_suits, layers))):
        yield
        return
    try:
        for layer in layers:
            packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
            # An instance attribute hides the method of the class.
            layer.forward = partial(_linear, packed, layer.bias)  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _linear(packed: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """The kernel does not know dual numbers, but a linear map acts on both parts alike."""
    value, tangent = forward_ad.unpack_dual(x)
    found = _product(value, packed, bias)
    if tangent is None:
        return found
    return forward_ad.make_dual(found, _product(tangent, packed, None))


def _product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _suits(layer: torch.nn.Linear) -> bool:
    return layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32


def _available() -> bool:
    needed = ("_reorder_linear_weight", "_linear_pointwise")
    kernels = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(hasattr(kernels, name) for name in needed)
