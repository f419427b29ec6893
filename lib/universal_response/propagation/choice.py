"""Which precision of products to take: the fastest on this device that changes next to nothing."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.benchmark import Timer
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation.clean_pass import TOKENS_PER_PASS
from universal_response.propagation.modules import is_linear
from universal_response.propagation.passes import linear_inner_products
from universal_response.propagation.products import products_of

# A precision is taken if it changes the median relative length of responses by less than this.
LARGEST_EFFECT = 0.01
_SOURCES = 8


@dataclass(frozen=True)
class Choice:
    """A precision and what it changes.

    Attributes:
        products: one of `PRODUCTS`.
        effect: median over sources and targets of |C_delta / C_delta(float32) - 1| at the last
            position, in the linear limit, on one sequence; 0 for float32.
    """

    products: str
    effect: float


def choose_products(
    model: TransformerBridge,
    tokens: Int[Tensor, "sequence token"],
    products: str = "auto",
    **others: Any,
) -> Choice:
    """The precision asked for, or the fastest with an effect below 1 %, and its effect.

    How fast is decided by a short measured rate: a processor without units for a type may be
    hundreds of times slower with it.

    Args:
        model: that is to be measured.
        tokens: the effect is measured on the first sequence, at a few sources.
        products: `auto`, or one of `PRODUCTS`.
        others: `perturbation` and `perturbed_position`, as for `linear_inner_products`.

    Raises:
        ValueError: an unknown precision, or tf32 without CUDA.
    """
    if products == "float32":
        return Choice(products, 0.0)
    if products != "auto":
        return Choice(products, _effect(model, tokens, products, others))
    for name in _faster_than_float32(model):
        effect = _effect(model, tokens, name, others)
        if effect < LARGEST_EFFECT:
            return Choice(name, effect)
    return Choice("float32", 0.0)


def _effect(
    model: TransformerBridge, tokens: Tensor, products: str, others: dict[str, Any]
) -> float:
    first = torch.as_tensor(tokens)[:1]
    t = first.shape[1]
    sources = torch.linspace(0, t - 1, min(_SOURCES, t)).long()[None]
    found = [
        linear_inner_products(first, model, sources=sources, products=name, **others)
        for name in (products, "float32")
    ]
    low, full = (each.response_response[-1].double().sqrt() for each in found)
    return float((low / full - 1).abs()[full > 0].median())


def _faster_than_float32(model: TransformerBridge) -> list[str]:
    """Names by the speed of the model's largest product, the fastest first."""
    inner: Any = model.original_model
    layers = [each for each in inner.base_model.modules() if is_linear(each)]
    if not layers:
        return []
    layer: Any = max(layers, key=lambda each: each.weight.numel())
    device = layer.weight.device
    rows = TOKENS_PER_PASS.get(device.type, TOKENS_PER_PASS["cpu"])
    seconds = {"float32": _seconds_of_product(layer, "float32", rows)}
    for name in ("bfloat16", "tf32") if device.type == "cuda" else ("bfloat16",):
        # A few rows first: on a processor without units for a type many would take minutes.
        few = rows // 64
        if _seconds_of_product(layer, name, few) < 4 * _seconds_of_product(layer, "float32", few):
            seconds[name] = _seconds_of_product(layer, name, rows)
    faster = [name for name, each in seconds.items() if each < 0.9 * seconds["float32"]]
    return sorted(faster, key=seconds.__getitem__)


def _seconds_of_product(layer: torch.nn.Module, name: str, rows: int) -> float:
    multiply = products_of([layer], name)[layer].change
    weight = cast(Tensor, layer.weight)
    width = weight.shape[1 if isinstance(layer, torch.nn.Linear) else 0]
    d = torch.randn(rows, width, device=weight.device)
    known = {"multiply": multiply, "d": d}
    timer = Timer("multiply(d)", globals=known, num_threads=torch.get_num_threads())
    return timer.timeit(3).median
