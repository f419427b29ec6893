"""TRANSITION: read and verify files of schema version 2, measured by subtraction.

To be deleted as a whole when the shipped results are measured again, with the three places that
import it: `load_results`, `verify` and their tests.
"""

from typing import Any

import numpy as np
import xarray as xr

SCHEMA_VERSION = 2
# Weaker strengths were lost to rounding in part.
WEAKEST = 0.0099


def upgraded(dataset: xr.Dataset) -> xr.Dataset:
    """A Dataset of version 2 under the names of version 3, as far as it holds what they name."""
    t0, t = int(dataset.attrs["t0"]), dataset.sizes["delta_j"]
    n = xr.DataArray(t - np.arange(t), dims="delta_j")
    numbers: dict[str, xr.DataArray | int] = {"last": n, "peak": t - t0 + 1}
    if t0:
        numbers["window"] = t - dataset.window
    old = {"last": "last_response", "peak": "peak_response", "window": "window_response"}
    sums = {
        f"{place}_sum": (dataset[old[place]] * number).astype(dataset[old[place]].dtype)
        for place, number in numbers.items()
        if old[place] in dataset
    }
    if "last_linear" in dataset:
        sums["linear_last_sum"] = (dataset.last_linear * n).astype(dataset.last_linear.dtype)
        first = dataset.last_linear.isel(sequence=0).expand_dims(position=dataset.position[-1:])
        witness = first.reindex(position=dataset.position).transpose(*dataset.linear.dims)
        sums["linear_witness"] = witness
    every = np.tile(np.arange(t), (dataset.sizes["sequence"], 1))
    kept = dataset.drop_vars([*old.values(), "last_linear", "floor"], errors="ignore")
    added: dict[str, Any] = {
        "n_pairs": (("sequence", "delta_j"), t - every),
        "sources": (("sequence", "draw"), every),
    }
    if "floor" in dataset:
        added["version2_noise"] = _noise(dataset)
    return kept.assign(sums | added).assign_attrs(
        distance=t0 - 1 if t0 else "none",
        distinct=0,
        sources="all",
        perturbation="scaling",
        perturbed_position=0,
        products="float32",
        products_effect=0.0,
        fallback_modules="none",
    )


def strengths(dataset: xr.Dataset) -> list[float]:
    """Those that are compared."""
    return [float(epsilon) for epsilon in dataset.epsilon if epsilon > WEAKEST]


def comparable(
    found: xr.Dataset,
    name: str,
    shipped: xr.DataArray,
    allowed: xr.DataArray,
    dataset: xr.Dataset,
) -> tuple[xr.Dataset, xr.DataArray]:
    """What was measured where the file knows it, and with the noise of the file what it allows."""
    found = found.assign({name: found[name].where(shipped.notnull())})
    if name == "response" and "version2_noise" in dataset:
        allowed = allowed + 3 * dataset.version2_noise.sel(epsilon=found.epsilon)
    return found, allowed


def _noise(dataset: xr.Dataset) -> xr.DataArray:
    """Rounding error of the witness, from the measured floor; a cosine has none where it is lost.

    A mean over few sources scatters about the floor of that distance, up to the largest floor.
    """
    scatter = dataset.floor.max("delta_j") / np.sqrt(dataset.sizes["delta_j"] - dataset.delta_j)
    floor, response = dataset.floor + scatter, dataset.witness
    size = response.sel(metric="delta")
    of_delta, of_phi = floor.sel(metric="delta"), floor.sel(metric="phi")
    relative = of_delta / size.where(size > 0)
    parts = {
        "delta": of_delta.broadcast_like(size),
        "phi": of_phi + 2 * np.sqrt(of_phi * response.sel(metric="phi")) + 1e-6 * size**2,
    }
    # The mean of a cosine is that of the weakest pairs, which are lost long before their mean.
    lost = relative.where(relative < 1e-4, np.inf).fillna(0)
    found = [parts.get(str(name), 10 * lost) for name in dataset.metric.values]
    joined = xr.concat([one.drop_vars("metric", errors="ignore") for one in found], dataset.metric)
    return joined.transpose(*response.dims).astype(np.float32)
