"""Shards: some sequences at all strengths or in the limit, measured in one go and kept at once.

With the engine, the metrics and `pairs` this module is all that decides the bits of a shard, and
what `identity` takes a digest of. Nothing else belongs here.
"""

import hashlib
import math
import os
import time
import warnings
import zipfile
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.settings import Settings, description
from universal_response.measurement.subject import Subject
from universal_response.metrics import LINEAR_METRICS, METRICS, ResponseMatrix
from universal_response.pairs import by_distance, log_sums
from universal_response.propagation import (
    InnerProducts,
    chunked_inner_products,
    linear_inner_products,
)

# Inner products of some strengths, and the metrics made of them, stay below this and below an
# eighth of the device's memory. A processor is as fast with one strength as with several, as soon
# as its suffixes fill a few passes; a GPU wants many.
CHUNK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 33}
# Inner products of a strength, and as many intermediates of a metric.
ARRAYS = 10
# No more than this is lost when a measurement is killed.
SEQUENCES_PER_SHARD = 2
# Numbers of a map (position, source, target) of all metrics, up to which it is kept.
MAP_NUMBERS = 1 << 21
GROWING = ("delta", "phi")  # metrics that have logarithms

Metrics = dict[str, Callable[[InnerProducts], ResponseMatrix]]

LIBRARY = Path(__file__).parents[1]
# Its files and folders that decide the bits of a shard.
CODE = ("propagation", "metrics", "pairs", "measurement/shards")


@dataclass(frozen=True)
class Job:
    """A measurement, down to what every shard of it needs.

    Attributes:
        subject: the model.
        settings: with `products` decided.
        tokens: (sequence, token).
        sources: the perturbed tokens, (sequence, source).
    """

    subject: Subject
    settings: Settings
    tokens: np.ndarray
    sources: np.ndarray


@dataclass(frozen=True)
class Shard:
    """Some sequences, at all finite strengths or in the linear limit."""

    first: int
    stop: int
    linear: bool

    @property
    def file(self) -> str:
        return f"{'linear' if self.linear else 'finite'}-{self.first:04d}-{self.stop:04d}.npz"


def shards_of(job: Job) -> list[Shard]:
    """All shards of a measurement, of equal size as far as possible: they run equally fast."""
    n = len(job.tokens)
    n_shards = math.ceil(n / (job.settings.sequences_per_chunk or SEQUENCES_PER_SHARD))
    edges = np.linspace(0, n, n_shards + 1).round().astype(int)
    kinds = [False] * bool(job.settings.epsilons) + [True] * job.settings.linear
    return [Shard(int(a), int(b), linear) for linear in kinds for a, b in pairwise(edges)]


def token_passes(job: Job, shard: Shard) -> int:
    """Tokens passed through the model for a shard: T - i for every source and strength."""
    passes = int((job.tokens.shape[1] - job.sources[shard.first : shard.stop]).sum())
    return passes * (1 if shard.linear else len(job.settings.epsilons))


def measure_shard(
    model: TransformerBridge,
    job: Job,
    shard: Shard,
    progress: Callable[[int], object] | None = None,
) -> dict[str, np.ndarray]:
    """Measure a shard.

    Returns:
        `sum` (sequence, metric, epsilon, position, delta_j), over the pairs of a sequence; of the
        metrics `GROWING` `log_sum` and `log_n`, the same of logarithms, and how many; of the
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


def strengths_at_a_time(each: int, device: str, memory: int | None = None) -> int:
    """How many strengths fit into memory together; at least one.

    Depends on the size of the device's memory but not on what is free: another number lays the
    suffixes out otherwise and changes the last bits.

    Args:
        each: `bytes_of_strength`.
        device: type of the device.
        memory: of the device, bytes; plenty if None.
    """
    limit = CHUNK_BYTES.get(device, CHUNK_BYTES["cpu"])
    return max(1, (limit if memory is None else min(limit, memory // 8)) // each)


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


def bytes_of_strength(
    n_positions: int, n_sequences: int, n_sources: int, t: int, dtype: torch.dtype
) -> int:
    """Bytes of the inner products of one strength and of the intermediates of a metric."""
    # Half precision is raised to float32.
    return ARRAYS * max(dtype.itemsize, 4) * n_positions * n_sequences * n_sources * t


def identity(job: Job) -> str:
    """Digest of all that decides the bits of a shard; shards of another one are measured again."""
    recorded = job.subject.attributes
    if recorded["weights_sha256"] == "unknown":
        raise ValueError(
            "shards: a model whose weights are unknown cannot be resumed; load it by name or from "
            "a folder"
        )
    parts = (
        recorded["weights_sha256"],
        job.tokens.tolist(),
        job.sources.tolist(),
        description(job.settings),
        job.settings.sequences_per_chunk,
        str(job.subject.dtype),
        recorded["device"],
        recorded["versions"],
        code(LIBRARY),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def code(library: Path) -> list[str]:
    """Text of the modules that decide the bits of a shard."""
    found = [path for name in CODE for path in (library / f"{name}.py", library / name)]
    files = [sorted(path.rglob("*.py")) if path.is_dir() else [path] for path in found]
    return [path.read_text(encoding="utf-8") for each in files for path in each if path.exists()]


def save_shard(path: Path, identity: str, parts: dict[str, np.ndarray]) -> None:
    """Write a shard complete or not at all; what a kill leaves has another suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, identity=np.array(identity), **parts)
    os.replace(partial, path)


def load_shard(path: Path, identity: str) -> dict[str, np.ndarray]:
    """The parts of a finished shard; none if it is absent, damaged or of another measurement."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return {}
    return parts if str(parts.pop("identity", "")) == identity else {}
