"""Where in a model the peak moves to the token before the repeat (Fig. 4)."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from universal_response.response.scaling import POWER
from universal_response.response.selecting import (
    at_epsilon,
    peak_distance,
    second_attention_on,
    window,
)


@dataclass(frozen=True)
class InductionOnset:
    """Where the peak within the window settles at dj = T0 - 1.

    Attributes:
        first: smallest l, from the second attention sublayer on, at which the largest value in the
            window is at T0 - 1; None if it is there nowhere. A tie counts as not at T0 - 1.
        position: smallest l from which it stays there; None if it never does.
        resolved: the same, asking in addition that the lead over every other dj in the window
            exceeds two combined standard errors; None if never (or with a single sequence).
        peak: dj of the largest value at each l, shape (position,).
    """

    first: int | None
    position: int | None
    resolved: int | None
    peak: xr.DataArray


def induction_onset(dataset: xr.Dataset, epsilon: float, metric: str = "delta") -> InductionOnset:
    """Find where the response moves from the same token to the one before it (Fig. 4).

    Args:
        dataset: results of one model.
        epsilon: strength, one of those measured.
        metric: name of the metric.

    Raises:
        ValueError: epsilon was not measured.
    """
    t0 = peak_distance(dataset) + 1
    at = {"metric": metric, "delta_j": window(t0, t=dataset.sizes["delta_j"])}
    response = at_epsilon(dataset.response.sel(at), epsilon).transpose("position", "delta_j")
    error = at_epsilon(dataset.response_sem.sel(at), epsilon).transpose("position", "delta_j")
    doubt = 2 * np.hypot(error.sel(delta_j=t0 - 1), error.drop_sel(delta_j=t0 - 1))
    leads = (_lead(response, t0) > 0).all("delta_j") & second_attention_on(response)
    return InductionOnset(
        first=_if_any(leads.position.where(leads).min()),
        position=_if_any(onset_position(response, t0)),
        resolved=_if_any(_settles((_lead(response, t0) > doubt).all("delta_j"))),
        peak=response.idxmax("delta_j"),
    )


def in_window(dataset: xr.Dataset, metric: str, epsilon: float) -> xr.DataArray:
    """Response against dj and l around the peak (Fig. 4a-c, 5d-f), nan where it says nothing.

    That is before the second attention sublayer (`second_attention_on`), and where nothing
    responds. delta and phi: every row (fixed l) is divided by its maximum within the window.

    Returns:
        DataArray (position, delta_j).
    """
    near = window(peak_distance(dataset) + 1, t=dataset.sizes["delta_j"])
    inside = at_epsilon(dataset.response.sel(delta_j=near), epsilon)
    rows = inside.sel(metric=metric).where(
        (inside.sel(metric="delta") > 0) & second_attention_on(inside)
    )
    if POWER[metric] == 0:
        return rows
    # Where nothing responds there is no maximum to divide by.
    maximum = rows.max("delta_j")
    return rows / maximum.where(maximum > 0)


def onset_position(response: xr.DataArray, t0: int) -> xr.DataArray:
    """`InductionOnset.position` of many windows at once, nan where the peak never settles.

    Args:
        response: array with dimensions position and delta_j, the latter the window.
    """
    return _settles((_lead(response, t0) > 0).all("delta_j"))


def way_to_peak(response: xr.DataArray, t0: int) -> xr.DataArray:
    """How far the peak has moved from T0 to T0 - 1 at each l, beyond the first 5 % of the depth.

    C(T0 - 1) / (C(T0 - 1) + C(T0)), 0 being its mean up to 25 % of the depth, 1 that of the last
    10 %.

    Args:
        response: array with dimensions position and delta_j, the latter the window.
        t0: length of the repeated block.
    """
    before = response.sel(delta_j=t0 - 1, drop=True)
    share = before / (before + response.sel(delta_j=t0, drop=True))
    depth = share.position / share.position[-1]
    low = share.sel(position=(depth > 0.05) & (depth <= 0.25)).mean("position")
    high = share.sel(position=depth > 0.9).mean("position")
    return ((share - low) / (high - low)).sel(position=depth > 0.05)


def largest_step(way: xr.DataArray, sublayers: int = 1) -> xr.DataArray:
    """What the sublayers up to each l, so many in a row, add to `way_to_peak`."""
    return way - way.shift(position=sublayers)


def _lead(response: xr.DataArray, t0: int) -> xr.DataArray:
    """By how much T0 - 1 exceeds every other dj of the window."""
    return response.sel(delta_j=t0 - 1) - response.drop_sel(delta_j=t0 - 1)


def _settles(holds: xr.DataArray) -> xr.DataArray:
    """Smallest position from which a condition holds to the end; nan where there is none."""
    settled = holds.isel(position=slice(None, None, -1)).cumprod("position").sum("position")
    first = holds.sizes["position"] - settled
    return (first + int(holds.position[0])).where(settled > 0)


def _if_any(position: xr.DataArray) -> int | None:
    return None if position.isnull() else int(position)
