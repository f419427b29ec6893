"""The change as a difference of two runs, beside the carried change."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response import metrics
from universal_response.measurement import RANDOM, SCHEMA_VERSIONS, describe
from universal_response.models import load_model
from universal_response.number_types import check_dtype
from universal_response.propagation import inner_products, positions
from universal_response.sequences import repeated_random_tokens, stratified_sources
from universal_response.subtraction.rounding import Float32Products

NUMBER_TYPES = ("float64", "float32", "float16", "bfloat16")

EPSILONS = (*(float(f"{digit}e{power}") for power in range(-7, 0) for digit in (1, 3)), 1.0)


def measure_subtraction(
    model: str,
    *,
    epsilons: Sequence[float] = EPSILONS,
    number_types: Sequence[str] = NUMBER_TYPES,
    t0: int = 16,
    sources: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """C_delta after the last block by subtraction in several number types, and as carried.

    The carried change is that of float64 with the weights of the number type and without casts to
    float32, so that beside it the plain way shows its rounding and little else.

    Args:
        model: what `load_model` takes.
        epsilons: perturbation strengths in (0, 1].
        number_types: of the plain way.
        t0: length of the block of random tokens that is repeated.
        sources: how many of its tokens are perturbed.
        seed: of the tokens and of the sources.
        progress: show a progress bar.

    Returns:
        Dataset of `subtracted` and `carried`, C_delta at l = 2L (number_type, epsilon, draw,
        target), nan left of the source; not finite where the number type overflows.

    Raises:
        ValueError: an unknown number type, or what `load_model` and `inner_products` refuse.
    """
    for each in number_types:
        check_dtype(each, "number_types")
    began = time.perf_counter()
    double = load_model(model, device="cpu", dtype="float64", tokenizer=False)
    about = describe(double).attributes
    generator = np.random.default_rng(seed)
    tokens = repeated_random_tokens(t0, 1, double.cfg.d_vocab, generator)
    drawn = stratified_sources(2 * t0, sources, generator)
    asked = Asked(torch.from_numpy(tokens), torch.from_numpy(drawn), tuple(epsilons))
    found: dict[str, list[Tensor]] = {"subtracted": [], "carried": []}
    for number_type in tqdm(number_types, disable=not progress, unit="type"):
        plain = load_model(model, device="cpu", dtype=number_type, tokenizer=False)
        with _weights_of(double, plain):
            found["carried"].append(carried(double, asked))
        found["subtracted"].append(subtracted(plain, asked))
    dims = ("number_type", "epsilon", "draw", "target")
    left = torch.arange(2 * t0) < asked.sources[:, None]
    variables = {
        name: (dims, torch.stack(each).masked_fill(left, torch.nan).numpy())
        for name, each in found.items()
    }
    attributes = about | {
        "kind": "subtraction",
        "schema_version": SCHEMA_VERSIONS["subtraction"],
        "input": RANDOM,
        "dtype": ", ".join(number_types),
        "t0": t0,
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_time_s": round(time.perf_counter() - began, 1),
        "command": f'ur.subtraction.measure_subtraction("{model}")',
    }
    return xr.Dataset(
        variables | {"tokens": (("sequence", "token"), tokens), "sources": ("draw", drawn)},
        {"number_type": list(number_types), "epsilon": np.array(epsilons, dtype=float)},
        attributes,
    )


@dataclass(frozen=True)
class Asked:
    """Which changes: tokens of one sequence, those of them that are perturbed, and how strongly."""

    tokens: Int[Tensor, "1 token"]
    sources: Int[Tensor, " draw"]
    epsilons: tuple[float, ...]


def carried(model: TransformerBridge, asked: Asked) -> Float[Tensor, "epsilon draw target"]:
    """C_delta at l = 2L of the carried change."""
    found = inner_products(asked.tokens, model, asked.epsilons, sources=asked.sources[None])
    return metrics.delta(found)[-1, :, 0].double()


@torch.no_grad()
def subtracted(model: TransformerBridge, asked: Asked) -> Float[Tensor, "epsilon draw target"]:
    """C_delta at l = 2L of x' - x, from a full run of the model for each source and strength."""
    first, last = (model.hook_dict[positions(model)[k].hook] for k in (0, -1))
    base: Any = model.original_model
    rows = asked.tokens.expand(len(asked.sources), -1)
    is_source = asked.sources[:, None, None] == torch.arange(rows.shape[1])[:, None]

    def run(epsilon: float) -> Tensor:
        states: list[Tensor] = []

        def weaken(x: Tensor, hook: object) -> Tensor:
            return torch.where(is_source, (1 - epsilon) * x, x)

        def keep(x: Tensor, hook: object) -> None:
            states.append(x.double())

        with _hooked(first, weaken), _hooked(last, keep), Float32Products():
            base.base_model(rows, use_cache=False)
        return states[0]

    clean = run(0.0)
    changes = torch.stack([run(epsilon) - clean for epsilon in asked.epsilons])
    return changes.norm(dim=-1) / clean.norm(dim=-1)


@contextmanager
def _hooked(point: Any, hook: Callable[..., Any]) -> Iterator[None]:
    point.add_hook(hook)
    try:
        yield
    finally:
        point.remove_hooks()


@contextmanager
def _weights_of(model: TransformerBridge, other: TransformerBridge) -> Iterator[None]:
    """Give a model the weights of another one of its kind, for a while."""
    ours, theirs = (list(each.original_model.parameters()) for each in (model, other))
    before = [each.data for each in ours]
    try:
        for each, weights in zip(ours, theirs, strict=True):
            each.data = weights.data.to(each.dtype)
        yield
    finally:
        for each, kept in zip(ours, before, strict=True):
            each.data = kept
