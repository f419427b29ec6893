"""Few sources in many sequences against all sources in few: cost and standard error."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge
from universal_response.measurement import Settings, measure
from universal_response.measurement.plan import equivalent_sample, passes_with_clean
from universal_response.response import pairs_alike


def sampling(model: TransformerBridge, settings: Settings) -> dict[str, Any]:
    """Measure all sources, and the sample that `plan` proposes in their place.

    Args:
        model: what is measured.
        settings: with all sources.

    Returns:
        Of both ways sequences, sources, token-passes (clean ones counted), seconds and relative
        standard errors of C_delta at l = 2L; and how alike the pairs of a sequence are.
    """
    sample = equivalent_sample(settings)
    if sample is None:
        raise ValueError("settings: there is no cheaper sample; use a larger t0, or more sequences")
    sampled = replace(settings, sources=sample.sources, batch=sample.batch)
    found: dict[str, Any] = {}
    for name, asked in {"all sources": settings, "a sample": sampled}.items():
        start = time.perf_counter()
        dataset = measure(model, asked, progress=True)
        found[name] = {
            "sequences": asked.batch,
            "sources": asked.sources or asked.t,
            "token_passes": passes_with_clean(asked),
            "seconds": round(time.perf_counter() - start, 1),
            "relative_errors": _errors(dataset),
        }
        if asked is settings:
            found["alike"] = _alike(dataset)
    return found


def _errors(dataset: xr.Dataset) -> dict[str, dict[str, float]]:
    """By distance, of the arithmetic and of the geometric mean."""
    means = {"arithmetic": "linear", "geometric": "linear_geometric"}
    found: dict[str, dict[str, float]] = {name: {} for name in means}
    for name, variable in means.items():
        for distance in dataset.pair_distance.values:
            at = {"metric": "delta", "delta_j": distance}
            mean, error = (
                dataset[each].sel(at).isel(position=-1) for each in (variable, f"{variable}_sem")
            )
            found[name][str(distance)] = round(float(error / mean), 4)
    return found


def _alike(dataset: xr.Dataset) -> dict[str, dict[str, float]]:
    """Of pairs of one sequence, by distance."""
    pairs = dataset.pairs.sel(metric="delta")
    found = {}
    for name, each in {"plain": pairs, "logarithm": np.log(pairs)}.items():
        correlations = pairs_alike(each)
        found[name] = {
            str(distance): round(float(correlations.sel(pair_distance=distance)), 3)
            for distance in dataset.pair_distance.values
        }
    return found
