"""Checks of session 2."""

from typing import Any

import numpy as np
import xarray as xr

from universal_response.companion.exercises.answers import call, near, number, pair
from universal_response.companion.exercises.session1 import block_length, reference
from universal_response.response import (
    at_epsilon,
    induction_onset,
    last,
    window,
)


def two_lanes(answer: Any, data: xr.Dataset) -> bool:
    early, late = pair(answer, "two distances, (early, late)")
    peak = reference(data).sel(delta_j=window(block_length(data))).idxmax("delta_j")
    end = last(data)
    return (number(early), number(late)) == (
        float(peak.sel(position=end // 3)),
        float(peak.sel(position=5 * end // 6)),
    )


def peak_to_median(answer: Any, data: xr.Dataset) -> bool:
    curve = reference(data).sel(position=last(data))
    truth = float(curve.sel(delta_j=block_length(data) - 1)) / float(np.median(curve))
    return near(answer, truth, rtol=0.02)


def attention_share(answer: Any, data: xr.Dataset) -> bool:
    curve = reference(data).sel(delta_j=block_length(data) - 1)
    gained = {"attention": 0.0, "mlp": 0.0}
    for step, sublayer in zip(np.diff(curve), curve.sublayer.values[1:], strict=True):
        gained[str(sublayer)] += float(step)
    return near(answer, gained["attention"] / sum(gained.values()), atol=0.01)


def onset(answer: Any, data: xr.Dataset) -> bool:
    t0, epsilon0 = block_length(data), float(data.attrs["epsilon0"])
    cases = [
        (
            reference(data, metric).sel(delta_j=window(t0)).transpose("position", "delta_j"),
            t0,
            induction_onset(data, epsilon0, metric).position,
        )
        for metric in ("delta", "phi")
    ]
    cases += [(_made_up_map(peaks), 8, expected) for peaks, expected in _MADE_UP_MAPS]
    return all(_same(call(answer, curves, at), expected) for curves, at, expected in cases)


# For T0 = 8: distance of the peak at l = 0, 1, ... (None for a tie), and where it settles at 7.
_MADE_UP_MAPS: tuple[tuple[tuple[int | None, ...], int | None], ...] = (
    ((8, 8, 7, 7, 7), 2),
    ((8, 7, 7, 8, 7), 4),
    ((8, 7, 5, 7, 7), 3),
    ((8, 7, 7, 7, 6), None),
    ((None, 7, 7, 7, 7), 1),
    ((7, 7, 7, 7, 7), 0),
)


def _made_up_map(peaks: tuple[int | None, ...]) -> xr.DataArray:
    curves = np.ones((len(peaks), 11))
    distances = window(8)
    curves[:, distances == 7] = 2
    for row, peak in zip(curves, peaks, strict=True):
        row[distances == (8 if peak is None else peak)] = 2 if peak is None else 3
    coords = {"position": np.arange(len(peaks)), "delta_j": distances}
    return xr.DataArray(curves, dims=("position", "delta_j"), coords=coords)


def _same(result: Any, expected: int | None) -> bool:
    if result is None or expected is None:
        return result is expected
    return number(result) == expected


def relative_depth(answer: Any, data: xr.Dataset) -> bool:
    onset = induction_onset(data, float(data.attrs["epsilon0"])).position
    return onset is not None and near(answer, onset / last(data), atol=0.01)


def paired_error(answer: Any, data: xr.Dataset) -> bool:
    t0, epsilon0 = block_length(data), float(data.attrs["epsilon0"])
    measured = at_epsilon(data.last_sum.sel(metric="delta"), epsilon0) / data.n_pairs
    peak, same = (measured.sel(delta_j=distance).values for distance in (t0 - 1, t0))
    apart = np.sqrt(peak.var(ddof=1) + same.var(ddof=1))
    return near(answer, float(apart / (peak - same).std(ddof=1)), rtol=0.02)
