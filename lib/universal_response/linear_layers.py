"""Linear layers of a measured model: weights laid out beforehand, and no products with zeros."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from transformers.pytorch_utils import Conv1D

# The copies live as long as a measurement; a model that would need more runs without them.
PREPACKED_BYTES = 512 * 2**20


@contextmanager
def fast_linear_layers(model: torch.nn.Module, rows: int) -> Iterator[None]:
    """Spare linear layers what PyTorch does in every product, for as long as the context lasts.

    A dual number takes two products, of its value and of its derivative; PyTorch multiplies the
    value with the derivative of the weights as well, which is zero.

    In float32 on a CPU oneDNN lays the weights out block by block and anew in every product. Here
    it is done once, unless PyTorch has no such kernels or the copies would not fit into
    `PREPACKED_BYTES`.

    Args:
        model: whose `torch.nn.Linear` and `Conv1D` (GPT-2) are meant, if nobody else has taken
            their forward.
        rows: the number of rows to lay out for; other numbers work as well.
    """
    weights = {layer: _weight(layer) for layer in model.modules() if _is_linear(layer)}
    copies = sum(weight.nbytes for weight in weights.values())
    packed = copies <= PREPACKED_BYTES and _available() and all(map(_suits, weights.values()))
    try:
        for layer, weight in weights.items():
            product = _packed_product(weight, rows) if packed else partial(_product, weight)
            # An instance attribute hides the method of the class.
            layer.forward = partial(_linear, product, cast(Tensor | None, layer.bias))
        yield
    finally:
        for layer in weights:
            vars(layer).pop("forward", None)


_Product = Callable[[Tensor, Tensor | None], Tensor]


def _is_linear(layer: torch.nn.Module) -> bool:
    return type(layer) in (torch.nn.Linear, Conv1D) and "forward" not in vars(layer)


def _weight(layer: torch.nn.Module) -> Tensor:
    """Of shape (outputs, inputs)."""
    weight = cast(Tensor, layer.weight).detach()
    return weight.T if type(layer) is Conv1D else weight


def _linear(product: _Product, bias: Tensor | None, x: Tensor) -> Tensor:
    value, tangent = forward_ad.unpack_dual(x)
    found = product(value, bias)
    return found if tangent is None else forward_ad.make_dual(found, product(tangent, None))


def _product(weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    return torch.nn.functional.linear(x, weight, bias)


def _packed_product(weight: Tensor, rows: int) -> _Product:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)

    def product(x: Tensor, bias: Tensor | None) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")

    return product


def _suits(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _available() -> bool:
    needed = ("_reorder_linear_weight", "_linear_pointwise")
    kernels = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(hasattr(kernels, name) for name in needed)
