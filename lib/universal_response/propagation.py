"""SHIM, to be replaced as a whole: the interface of the coming engine over the old one.

Good enough for tests: it subtracts, perturbs by scaling at the input only, and multiplies in
float32 whatever `products` asks for.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from universal_response import _subtracting
from universal_response._subtracting import TOKENS_PER_PASS, Position, positions, unbridged

__all__ = ["TOKENS_PER_PASS", "Position", "positions", "unbridged"]


@dataclass(frozen=True)
class Scaling:
    name: str = "scaling"


@dataclass(frozen=True, eq=False)
class Direction:
    vector: Float[Tensor, " d_model"]
    name: str = "direction"


@dataclass(frozen=True)
class Swap:
    token: int
    name: str = "swap"


@dataclass(frozen=True)
class InnerProducts:
    state_state: Float[Tensor, "position sequence target"]
    response_response: Float[Tensor, "position epsilon sequence source target"]
    response_state: Float[Tensor, "position epsilon sequence source target"]
    response_source: Float[Tensor, "position epsilon sequence source target"]
    response_perturbation: Float[Tensor, "position epsilon sequence source target"]
    perpendicular: Float[Tensor, "position epsilon sequence source target"]
    sources: Int[Tensor, "sequence source"]
    fallback_modules: tuple[str, ...]


@torch.no_grad()
def chunked_inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: Any,
    chunks: Sequence[Sequence[float]],
    *,
    perturbation: Any = Scaling(),
    perturbed_position: int = 0,
    sources: Int[Tensor, "sequence source"] | None = None,
    products: str = "float32",
    tokens_per_pass: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Generator[InnerProducts]:
    _check(perturbation, perturbed_position)
    told = progress if sources is None else None
    found = _subtracting.chunked_inner_products(tokens, model, chunks, tokens_per_pass, told)
    try:
        for epsilons, old in zip(chunks, found, strict=True):
            if progress is not None and sources is not None:
                progress(len(epsilons) * int((tokens.shape[1] - sources).sum()))
            yield _sampled(old, sources)
    finally:
        found.close()


def inner_products(tokens: Any, model: Any, epsilons: Any, **same: Any) -> InnerProducts:
    (found,) = chunked_inner_products(tokens, model, [epsilons], **same)
    return found


@torch.no_grad()
def linear_inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: Any,
    *,
    perturbation: Any = Scaling(),
    perturbed_position: int = 0,
    sources: Int[Tensor, "sequence source"] | None = None,
    products: str = "float32",
    tokens_per_pass: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> InnerProducts:
    _check(perturbation, perturbed_position)
    told = progress if sources is None else None
    found = _subtracting.linear_inner_products(tokens, model, tokens_per_pass, told)
    if progress is not None and sources is not None:
        progress(int((tokens.shape[1] - sources).sum()))
    return _sampled(found, sources)


def _check(perturbation: Any, position: int) -> None:
    if position or perturbation.name != "scaling":
        raise NotImplementedError("this engine only scales the input")


def _sampled(old: Any, sources: Tensor | None) -> InnerProducts:
    squared = old.state_state[:, None, :, None, :]
    across = old.response_response - old.response_state**2 / squared.clamp(min=1e-30)
    rows = [
        old.response_response, old.response_state, old.response_source, old.response_perturbation,
        across.where(across > 1e-6 * old.response_response, 0.0),
    ]  # fmt: skip
    n, t = old.state_state.shape[1:]
    if sources is None:
        return InnerProducts(old.state_state, *rows, torch.arange(t).repeat(n, 1), ())  # type: ignore
    at = sources[None, None, :, :, None].to(squared.device)
    picked = [row.gather(3, at.expand(*row.shape[:3], at.shape[3], t)) for row in rows]
    return InnerProducts(old.state_state, *picked, sources, ())  # type: ignore
