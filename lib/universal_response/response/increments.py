"""What each sublayer adds to the response (Fig. 3)."""

import xarray as xr

from universal_response.response.averages import error_over_pairs, pairs_at
from universal_response.response.scaling import POWER
from universal_response.response.selecting import (
    at_epsilon,
    peak_distance,
    second_attention_on,
)


def increments(response: xr.DataArray, metric: str, normalise: bool = True) -> xr.DataArray:
    """C(l) - C(l-1) for l = 1 .. 2L (Fig. 3d-f).

    A cosine shows the faintest response in full: before `second_attention_on` it counts as zero.

    Args:
        response: of one metric, with a `position` dimension and its coordinate `sublayer`.
        metric: its name, a key of `POWER`.
        normalise: divide by the sum over l, as the caption has it for delta and phi; a cosine is
            never divided.
    """
    if POWER[metric] == 0:
        shown = response.where(second_attention_on(response), 0.0)
        return shown.diff("position", label="upper")
    steps = response.diff("position", label="upper")
    return steps / steps.sum("position") if normalise else steps


def increments_error(dataset: xr.Dataset, metric: str, epsilon: float) -> xr.DataArray:
    """Standard error of the increments at the peak, before normalisation (Fig. 3d-f).

    Taken over the differences sequence by sequence: neighbouring positions rise and fall together.

    Returns:
        DataArray (position,) for l = 1 .. 2L; nan for a single sequence.
    """
    of_sequences = at_epsilon(dataset.peak_sum.sel(metric=metric), epsilon)
    steps = increments(of_sequences, metric, normalise=False)
    return error_over_pairs(steps, pairs_at(dataset, "peak"))


def sublayer_totals(steps: xr.DataArray) -> xr.DataArray:
    """Sums of the increments over attention and over MLP sublayers (insets of Fig. 3d-f).

    Returns:
        DataArray with dimension `sublayer`.
    """
    return steps.groupby("sublayer").sum()


def increments_at_peak(dataset: xr.Dataset, metric: str, epsilon: float) -> xr.Dataset:
    """What each sublayer adds at dj = T0 - 1, as the caption of Fig. 3d-f has it.

    Returns:
        Dataset with `steps` (`increments`) and their standard error `error`, each (position,).
    """
    at = {"metric": metric, "delta_j": peak_distance(dataset)}
    curve = at_epsilon(dataset.response.sel(at), epsilon)
    total = 1.0 if POWER[metric] == 0 else float(curve[-1] - curve[0])
    error = increments_error(dataset, metric, epsilon) / total
    return xr.Dataset({"steps": increments(curve, metric), "error": error})
