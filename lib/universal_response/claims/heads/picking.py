"""Heads picked out of a study, and what several claims compute of them."""

import numpy as np
import xarray as xr
from scipy import stats

from universal_response import response

MAP = ["layer", "head"]


def named(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """Which heads are called so, (layer, head)."""
    return dataset.head_class == name


def first_layer(dataset: xr.Dataset) -> int | None:
    """The first layer that has an induction head."""
    has = named(dataset, "induction").any("head").values
    return int(has.argmax()) if has.any() else None


def strongest(values: xr.DataArray) -> dict[str, int]:
    """Indices of the head with the largest value."""
    layer, head = np.unravel_index(np.nanargmax(values), values.shape)
    return {"layer": int(layer), "head": int(head)}


def sender(dataset: xr.Dataset) -> dict[str, int] | None:
    """The head without whose edges to their keys induction heads lose most score, all together."""
    falls = -dataset.edge_score.sel(through="keys").sum("receiver")
    if not dataset.sizes["receiver"] or float(falls.max()) <= 0:
        return None
    return strongest(falls.transpose(*MAP))


def onset(dataset: xr.Dataset) -> int | None:
    """Position l from which the limit of the response stays largest at T0 - 1, in the window."""
    t0 = int(dataset.attrs["t0"])
    shown = dataset.response.sel(strength="limit", distance=response.window(t0))
    found = response.onset_position(shown.rename(distance="delta_j"), t0)
    return None if found.isnull() else int(found)


def total(values: xr.DataArray, among: xr.DataArray) -> xr.DataArray:
    """Sum over some heads; nan if one of them is nan."""
    return values.where(among, 0).sum(MAP, skipna=False)


def over(part: xr.DataArray, fall: xr.DataArray) -> xr.DataArray:
    """A ratio to a fall; nan where nothing falls."""
    return part / fall.where(fall > 0)


def constant(draws: xr.Dataset, value: float = np.nan) -> xr.DataArray:
    """A number without error; nan, which is not testable, of what a model does not have."""
    return xr.DataArray(np.full(draws.sizes["resample"], value), dims="resample")


def rank_correlation(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """Spearman's, over heads; nan where all are alike."""
    rows = (each.transpose("resample", *MAP).values for each in xr.broadcast(a, b))
    ranks = (stats.rankdata(each.reshape(len(each), -1), axis=1) for each in rows)
    x, y = (each - each.mean(1, keepdims=True) for each in ranks)
    lengths = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    found = np.divide((x * y).sum(1), lengths, out=np.full(len(x), np.nan), where=lengths > 0)
    return xr.DataArray(found, dims="resample")
