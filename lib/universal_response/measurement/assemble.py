"""Shards -> Dataset: averages with their errors, and what is kept of each sequence (the schema)."""

from datetime import UTC, datetime

import numpy as np
import torch
import xarray as xr

from universal_response.measurement.description import attributes_of
from universal_response.measurement.job import Job, Shard
from universal_response.measurement.schema import SCHEMA_VERSIONS
from universal_response.measurement.settings import Settings
from universal_response.metrics import GROWING, METRICS
from universal_response.response import (
    error_over_pairs,
    geometric_over_pairs,
    mean_over_pairs,
    window,
)
from universal_response.response.pairs import number_of_pairs

Parts = dict[str, np.ndarray]


def assemble(job: Job, shards: dict[Shard, Parts]) -> xr.Dataset:
    """Results in the schema of the book's page on data.

    Args:
        job: what was measured.
        shards: what `measure_shard` found, in order.
    """
    settings, t = job.settings, job.settings.t
    kinds = {
        linear: _joined([parts for shard, parts in shards.items() if shard.linear == linear])
        for linear in (False, True)
        if any(shard.linear == linear for shard in shards)
    }
    n = number_of_pairs(torch.from_numpy(job.sources), t)
    n_pairs = xr.DataArray(n.numpy().astype(np.int16), dims=("sequence", "delta_j"))
    variables = {
        "tokens": xr.DataArray(job.tokens, dims=("sequence", "token")),
        "sources": xr.DataArray(job.sources.astype(np.int16), dims=("sequence", "draw")),
        "n_pairs": n_pairs,
    }
    for linear, parts in kinds.items():
        variables |= _variables(job, parts, n_pairs, linear)
    any_kind = next(iter(kinds.values()))
    variables["state_length"] = xr.DataArray(any_kind["length"].mean(0, float), dims="position")
    if hasattr(settings.perturbation, "vector"):
        vector = np.asarray(settings.perturbation.vector.tolist())
        variables["direction"] = xr.DataArray(vector, dims="component")
    # What is kept has the precision of the model, but for errors and what was given.
    kept = any_kind["sum"].dtype
    for name, values in variables.items():
        if values.dtype.kind == "f" and name != "direction":
            variables[name] = values.astype(np.float32 if name.endswith("sem") else kept)
    coordinates = {
        "metric": list(METRICS),
        "epsilon": np.array(settings.epsilons, dtype=float),
        "position": [position.index for position in job.subject.positions],
        "layer": ("position", [position.layer for position in job.subject.positions]),
        "sublayer": ("position", [position.sublayer for position in job.subject.positions]),
        "delta_j": np.arange(t),
    }
    if settings.peak is not None:
        coordinates["window"] = window(settings.peak + 1, t=t)
        if settings.linear:
            coordinates["pair_distance"] = pair_distances(settings.peak)
    names = sorted({name for parts in kinds.values() for name in parts["fallback_modules"]})
    attributes = (
        job.subject.attributes
        | attributes_of(settings)
        | {
            "schema_version": SCHEMA_VERSIONS["response"],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "fallback_modules": ", ".join(names) or "none",
            "products_effect": job.effect,
            "wall_time_s": round(sum(float(parts["seconds"].sum()) for parts in kinds.values()), 1),
        }
    )
    return xr.Dataset(variables, coordinates, attributes)


def pair_distances(peak: int) -> list[int]:
    """The dj at which single pairs are kept: the peak, the next, and one of no meaning."""
    return [peak, peak + 1, (peak + 1) // 2 if peak > 1 else peak + 2]


def _joined(parts: list[Parts]) -> Parts:
    return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}


def _variables(
    job: Job, parts: Parts, n_pairs: xr.DataArray, linear: bool
) -> dict[str, xr.DataArray]:
    """What is kept of the strengths, or with the prefix `linear_` of the limit."""
    settings = job.settings
    dims = ("sequence", "metric", "epsilon", "position", "delta_j")
    labels: dict[str, list] = {"epsilon": [0.0] if linear else list(settings.epsilons)}
    sums = xr.DataArray(parts["sum"], labels, dims)
    labels["metric"] = [list(METRICS).index(name) for name in GROWING]
    log_sums = xr.DataArray(parts["log_sum"], labels, dims)
    log_n = xr.DataArray(parts["log_n"], labels, dims)
    mean, error = geometric_over_pairs(log_sums, log_n)
    # Of a cosine there is no logarithm: nan, and no pairs.
    every = {"metric": np.arange(len(METRICS))}
    found = {
        "response": mean_over_pairs(sums, n_pairs),
        "response_sem": error_over_pairs(sums, n_pairs),
        "geometric": mean.reindex(every),
        "geometric_sem": error.reindex(every),
        "fraction": mean_over_pairs(log_n, n_pairs).reindex(every),
        "matrix": _mean_by_source(parts["matrix"], job),
        "witness": (sums / n_pairs.where(n_pairs > 0)).isel(sequence=0),
    }
    log_sums, log_n = log_sums.reindex(every), log_n.reindex(every, fill_value=0)
    if "map" in parts:
        found["map"] = _mean_by_source(parts["map"], job)
    for name, values in {"sum": sums, "log_sum": log_sums, "log_n": log_n}.items():
        found[f"last_{name}"] = values.isel(position=-1)
        if settings.peak is not None:
            near = window(settings.peak + 1, t=settings.t)
            reference = {"epsilon": 0.0 if linear else settings.epsilon0}
            at = values.sel(reference).isel(delta_j=near).drop_vars("epsilon")
            found[f"peak_{name}"] = values.isel(delta_j=settings.peak)
            found[f"window_{name}"] = at.rename(delta_j="window")
    if linear and settings.peak is not None:
        found["pairs"] = _pairs(parts["pairs"], settings)
    if linear:
        found = {
            name: values.isel(epsilon=0, missing_dims="ignore") for name, values in found.items()
        }
    order = ("metric", "epsilon", "sequence", "draw", "position", "source", "target", "delta_j")
    return {
        _name(name, linear): values.transpose(*order, ..., missing_dims="ignore").drop_vars(
            ["metric", "epsilon"], errors="ignore"
        )
        for name, values in found.items()
    }


def _name(name: str, linear: bool) -> str:
    if not linear or name == "pairs":
        return name
    return name.replace("response", "linear") if "response" in name else f"linear_{name}"


def _mean_by_source(matrices: np.ndarray, job: Job) -> xr.DataArray:
    """Mean over the sequences in which a source was perturbed; nan where it never was.

    Args:
        matrices: (sequence, metric, ..., source, target), a row for each drawn source.
        job: what was measured.
    """
    t = matrices.shape[-1]
    total = np.zeros((*matrices.shape[1:-2], t, t))
    count = np.zeros((t, 1))
    for matrix, sources in zip(matrices, job.sources, strict=True):
        total[..., sources, :] += matrix
        count[sources] += 1
    dims = ("metric", *(["position"] * (matrices.ndim - 4)), "source", "target")
    return xr.DataArray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dims=dims)


def _pairs(rows: np.ndarray, settings: Settings) -> xr.DataArray:
    """C of single pairs (metric, sequence, draw, pair_distance); nan beyond the sequence."""
    chosen = np.full((*rows.shape[:-1], 3), np.nan)
    for place, distance in enumerate(pair_distances(settings.peak or 0)):
        if distance < settings.t:
            chosen[..., place] = rows[..., distance]
    return xr.DataArray(chosen, dims=("sequence", "metric", "draw", "pair_distance"))
