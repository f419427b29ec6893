"""What is measured of a shard: sums over the pairs of a sequence, and some single pairs.

With the engine, the metrics, `response.pairs`, `perturbation` and `memory` this module is all that
decides the bits of a shard: `shards.identity` takes a digest of it. Nothing else belongs here.
"""

import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.job import Job, Shard
from universal_response.measurement.memory import bytes_of_strength, strengths_at_a_time
from universal_response.metrics import (
    GROWING,
    LINEAR_METRICS,
    METRICS,
    InnerProducts,
    ResponseMatrix,
)
from universal_response.propagation import chunked_inner_products, linear_inner_products
from universal_response.response.pairs import by_distance, log_sums

# Numbers of a map (position, source, target) of all metrics, up to which it is kept.
MAP_NUMBERS = 1 << 21

Metrics = Mapping[str, Callable[[InnerProducts], ResponseMatrix]]


def measure_shard(
    model: TransformerBridge,
    job: Job,
    shard: Shard,
    progress: Callable[[int], object] | None = None,
) -> dict[str, np.ndarray]:
    """Measure a shard.

    Returns:
        `sum` (sequence, metric, epsilon, position, delta_j), over the pairs of a sequence; of the
        metrics that grow `log_sum` and `log_n`, the same of logarithms, and how many; of the
        reference strength `pairs` (sequence, metric, source, delta_j) and `matrix` (sequence,
        metric, source, target) at the last position, and `map` (sequence, metric, position, source,
        target) where it is small; `length` (sequence, position), the mean of |x_j|;
        `fallback_modules`, their names; `seconds` (1,). One entry along epsilon in the limit.
    """
    start = time.perf_counter()
    metrics = LINEAR_METRICS if shard.linear else METRICS
    strengths = [0.0] if shard.linear else list(job.settings.epsilons)
    reference = 0.0 if shard.linear else job.settings.epsilon0
    size = _strengths_at_a_time(job, shard.stop - shard.first)
    chunks = [strengths[first : first + size] for first in range(0, len(strengths), size)]
    sums, parts = [], {}
    # Closed in any case: the model is the caller's again, whatever happens here.
    with closing(_inner_products(model, job, shard, chunks, progress)) as found:
        for chunk, products in zip(chunks, found, strict=True):
            sums.append(_sums(products, metrics))
            if reference in chunk:
                one = _one_strength(products, chunk.index(reference))
                parts = _at_reference(one, metrics)
    parts |= {name: np.concatenate([each[name] for each in sums], axis=2) for name in sums[0]}
    return parts | {"seconds": np.array([time.perf_counter() - start])}


def _inner_products(
    model: TransformerBridge,
    job: Job,
    shard: Shard,
    chunks: list[list[float]],
    progress: Callable[[int], object] | None,
) -> Generator[InnerProducts]:
    settings = job.settings
    tokens = torch.from_numpy(job.tokens[shard.first : shard.stop])
    sources = torch.from_numpy(job.sources[shard.first : shard.stop])
    asked: dict[str, Any] = {
        "perturbation": settings.perturbation,
        "perturbed_position": settings.perturbed_position,
        "sources": None if settings.sources is None else sources,
        "products": settings.products,
        "progress": progress,
    }
    if shard.linear:
        yield linear_inner_products(tokens, model, **asked)
    else:
        yield from chunked_inner_products(tokens, model, chunks, **asked)


def _sums(products: InnerProducts, metrics: Metrics) -> dict[str, np.ndarray]:
    """Of every metric the sums over the pairs of a sequence, and of their logarithms."""
    found: dict[str, list[Tensor]] = {"sum": [], "log_sum": [], "log_n": []}
    for name, metric in metrics.items():
        rows = by_distance(metric(products), products.sources)
        found["sum"].append(rows.nansum(-2))
        if name in GROWING:
            logs, n = log_sums(rows)
            found["log_sum"].append(logs)
            found["log_n"].append(n.to(torch.int16))
    # (position, metric, epsilon, sequence, delta_j)
    return {
        name: torch.stack(each, dim=1).permute(3, 1, 2, 0, 4).cpu().numpy()
        for name, each in found.items()
    }


def _at_reference(products: InnerProducts, metrics: Metrics) -> dict[str, np.ndarray]:
    """What is kept of single pairs, and of what no strength changes."""
    # (sequence, metric, position, source, target)
    matrices = torch.stack([metric(products)[:, 0] for metric in metrics.values()], dim=1)
    matrices = matrices.permute(2, 1, 0, 3, 4)
    last = matrices[:, :, -1]
    rows = by_distance(last.transpose(0, 1), products.sources).transpose(0, 1)
    found = {"matrix": last, "pairs": rows, "length": products.state_state.sqrt().mean(-1).T}
    if matrices[0].numel() <= MAP_NUMBERS:
        found["map"] = matrices
    # Copied: a view would keep every matrix in memory.
    kept = {name: values.cpu().numpy().copy() for name, values in found.items()}
    return kept | {"fallback_modules": np.array(products.fallback_modules, dtype=str)}


def _one_strength(products: InnerProducts, at: int) -> InnerProducts:
    by_epsilon = {
        one.name: getattr(products, one.name)[:, at : at + 1]
        for one in fields(products)
        if getattr(getattr(products, one.name), "ndim", 0) == 5
    }
    return replace(products, **by_epsilon)


def _strengths_at_a_time(job: Job, n_sequences: int) -> int:
    about, t = job.subject, job.tokens.shape[1]
    size = (len(about.positions), n_sequences, job.sources.shape[1], t, about.dtype)
    each = bytes_of_strength(*size)
    if each > about.memory // 8:
        warnings.warn(
            f"memory: sequences of {t} tokens need {each / 2**30:.1f} GiB beside the weights; if "
            "it runs out use shorter ones, fewer sources, or sequences_per_chunk=1",
            stacklevel=2,
        )
    return strengths_at_a_time(each, about.device, about.memory)
