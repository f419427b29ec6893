"""Products of weights with changes, in the precision that the hardware is fast at.

A change is multiplied in float32, or in fewer digits: an error of a product is relative to the
change, however weak that is. Values stay in the dtype of the model.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from universal_response.number_types import PRODUCTS

# The copies live as long as a measurement; a model that would need more runs without them.
PREPACKED_BYTES = 512 * 2**20

_Product = Callable[[Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Multiply:
    """A linear layer: its products with values, bias included, and with changes.

    Attributes:
        dtype: of the weights.
    """

    dtype: torch.dtype
    value: Callable[[Tensor], Tensor]
    change: Callable[[Tensor], Tensor]


def products_of(
    layers: Iterable[torch.nn.Module], products: str, rows: int
) -> dict[torch.nn.Module, Multiply]:
    """How each layer multiplies.

    In float32 on a CPU oneDNN lays the weights out block by block and anew in every product. Here
    it is done once, unless PyTorch has no such kernels or the copies would not fit into
    `PREPACKED_BYTES`.

    Args:
        layers: of type `torch.nn.Linear` and `Conv1D` (GPT-2).
        products: one of `PRODUCTS`.
        rows: the number of rows to lay out for; other numbers work as well.

    Raises:
        ValueError: tf32 without CUDA.
    """
    weights = {layer: weight_of(layer) for layer in layers}
    check_products(products, all(each.is_cuda for each in weights.values()))
    copies = sum(4 * weight.numel() for weight in weights.values())
    packed = copies <= PREPACKED_BYTES and _available()
    found = {}
    for layer, weight in weights.items():
        bias = cast(Tensor | None, layer.bias)
        plain = _packed(weight, rows) if packed and _suits(weight) else _plain(weight)
        change = plain
        if products == "bfloat16":
            change = _bfloat16(weight)
        elif products == "tf32":
            change = _tf32(weight)
        elif weight.dtype in (torch.float16, torch.bfloat16):
            raised = weight.device.type == "cpu" and packed
            change = _packed(weight.float(), rows) if raised else _raised(weight)
        found[layer] = Multiply(
            weight.dtype,
            partial(_of_value, bias, plain),
            partial(_of_change, weight, change),
        )
    return found


def check_products(products: str, on_cuda: bool) -> None:
    """Refuse a precision that is not known or not to be had.

    Raises:
        ValueError: in one line.
    """
    if products not in PRODUCTS:
        raise ValueError(f"products={products}: choose one of {', '.join(PRODUCTS)}, auto")
    if products == "tf32" and not on_cuda:
        raise ValueError("products=tf32: needs a CUDA device; use float32, bfloat16 or auto")


def _of_value(bias: Tensor | None, product: _Product, x: Tensor) -> Tensor:
    return product(x, bias)


def _of_change(weight: Tensor, product: _Product, d: Tensor) -> Tensor:
    """A change more precise than the weights needs them as precise."""
    more = d.dtype == torch.float64 and weight.dtype != torch.float64
    return _raised(weight)(d, None) if more else product(d, None)


def weight_of(layer: torch.nn.Module) -> Tensor:
    """Of shape (outputs, inputs)."""
    weight = cast(Tensor, layer.weight).detach()
    return weight.T if type(layer) is Conv1D else weight


def _plain(weight: Tensor) -> _Product:
    return lambda x, bias: torch.nn.functional.linear(x, weight, bias)


def _raised(weight: Tensor) -> _Product:
    return lambda x, bias: torch.nn.functional.linear(x, weight.to(x.dtype), bias)


def _bfloat16(weight: Tensor) -> _Product:
    low = weight.to(torch.bfloat16)
    return lambda x, _: torch.nn.functional.linear(x.to(torch.bfloat16), low).to(x.dtype)


def _tf32(weight: Tensor) -> _Product:
    def product(x: Tensor, bias: Tensor | None) -> Tensor:
        with _fast_float32():
            return torch.nn.functional.linear(x, weight.to(x.dtype), bias)

    return product


@contextmanager
def _fast_float32() -> Iterator[None]:
    backend = torch.backends.cuda.matmul
    before = backend.allow_tf32
    try:
        backend.allow_tf32 = True
        yield
    finally:
        backend.allow_tf32 = before


def _packed(weight: Tensor, rows: int) -> _Product:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    return lambda x, bias: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _suits(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _available() -> bool:
    needed = ("_reorder_linear_weight", "_linear_pointwise")
    kernels = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(hasattr(kernels, name) for name in needed)
