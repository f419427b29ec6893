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

_Product = Callable[[Tensor], Tensor]


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
    layers: Iterable[torch.nn.Module], products: str
) -> dict[torch.nn.Module, Multiply]:
    """How each layer multiplies.

    In float32 on a CPU by oneDNN, which PyTorch does not take by itself: depending on the processor
    as fast as its own choice, or twice as fast.

    Args:
        layers: of type `torch.nn.Linear` and `Conv1D` (GPT-2).
        products: one of `PRODUCTS`.

    Raises:
        ValueError: tf32 without CUDA.
    """
    weights = {layer: weight_of(layer) for layer in layers}
    check_products(products, all(each.is_cuda for each in weights.values()))
    one_dnn = _available()
    found = {}
    for layer, weight in weights.items():
        plain = partial(_product, weight, one_dnn)
        change: _Product = plain
        if products == "bfloat16":
            change = _bfloat16(weight)
        elif products == "tf32":
            change = _tf32(weight)
        found[layer] = Multiply(
            weight.dtype,
            partial(plain, bias=cast(Tensor | None, layer.bias)),
            partial(_of_change, weight, plain, change),
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


def _of_change(weight: Tensor, plain: _Product, fewer: _Product, d: Tensor) -> Tensor:
    """A change more precise than the weights keeps its digits."""
    more = d.dtype == torch.float64 and weight.dtype != torch.float64
    return plain(d) if more else fewer(d)


def weight_of(layer: torch.nn.Module) -> Tensor:
    """Of shape (outputs, inputs)."""
    weight = cast(Tensor, layer.weight).detach()
    return weight.T if type(layer) is Conv1D else weight


def _product(weight: Tensor, one_dnn: bool, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """In the precision of x."""
    weight = weight.to(x.dtype)
    if one_dnn and x.device.type == "cpu" and x.dtype == torch.float32:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return torch.nn.functional.linear(x, weight, bias)


def _bfloat16(weight: Tensor) -> _Product:
    low = weight.to(torch.bfloat16)
    return lambda x: torch.nn.functional.linear(x.to(torch.bfloat16), low).to(x.dtype)


def _tf32(weight: Tensor) -> _Product:
    def product(x: Tensor) -> Tensor:
        with _fast_float32():
            return torch.nn.functional.linear(x, weight.to(x.dtype))

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


def _available() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
