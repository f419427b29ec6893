"""In which number type changes are multiplied with weights, decided by measuring."""

import numpy as np
import torch
from torch.utils.benchmark import Timer
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.settings import Settings
from universal_response.metrics import METRICS
from universal_response.propagation import linear_inner_products

LARGEST_EFFECT = 0.01


def chosen_products(
    model: TransformerBridge, tokens: np.ndarray, sources: np.ndarray, settings: Settings
) -> tuple[str, float]:
    """The number type to take, and its effect on the first sequence.

    Returns:
        One of `float32`, `tf32`, `bfloat16`, and the median of |C_delta / C_delta in float32 - 1|
        over the pairs of the first sequence, at the last position, in the limit. `auto` takes the
        fastest whose effect is below `LARGEST_EFFECT`.
    """
    if settings.products == "float32":
        return "float32", 0.0
    exact = _lengths(model, tokens, sources, settings, "float32")

    def effect(products: str) -> float:
        found = _lengths(model, tokens, sources, settings, products)
        return float((found / exact - 1)[exact > 0].abs().median())

    if settings.products != "auto":
        return settings.products, effect(settings.products)
    device = next(model.original_model.parameters()).device
    for products in _faster_than_float32(device):
        off = effect(products)
        if off < LARGEST_EFFECT:
            return products, off
    return "float32", 0.0


def _lengths(
    model: TransformerBridge,
    tokens: np.ndarray,
    sources: np.ndarray,
    settings: Settings,
    products: str,
) -> torch.Tensor:
    found = linear_inner_products(
        torch.from_numpy(tokens[:1]),
        model,
        perturbation=settings.perturbation,
        perturbed_position=settings.perturbed_position,
        sources=torch.from_numpy(sources[:1]),
        products=products,
    )
    return METRICS["delta"](found)[-1]


def _faster_than_float32(device: torch.device) -> list[str]:
    """Number types by the speed of a product of two matrices on this device, fastest first."""
    kinds = ("float32", "bfloat16", *(["tf32"] if device.type == "cuda" else []))
    seconds = {kind: _seconds_of_product(device, kind) for kind in kinds}
    faster = [kind for kind in kinds if seconds[kind] < seconds["float32"]]
    return sorted(faster, key=seconds.__getitem__)


def _seconds_of_product(device: torch.device, kind: str) -> float:
    # A processor without bfloat16 units needs a second for matrices as small as these.
    edge = 4096 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    factors = torch.randn(2, edge, edge, generator=torch.Generator().manual_seed(0))
    a, b = factors.to(device, dtype)
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    try:
        timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
        return timer.timeit(5).median
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
