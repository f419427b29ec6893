"""What each sublayer adds to the response (Fig. 3)."""

import numpy as np
import xarray as xr

from universal_response.response.averages import error_over_pairs, pairs_at
from universal_response.response.bootstrap import estimate, resample
from universal_response.response.scaling import POWER
from universal_response.response.selecting import (
    at_epsilon,
    peak_distance,
    second_attention_on,
)

SHARES = ("sum", "rises", "gains")


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


def attention_sum(steps: xr.DataArray) -> xr.DataArray:
    """Sum over the attention sublayers, of increments or parts of them; 0 without any."""
    return steps.sel(position=steps.sublayer == "attention").sum("position")


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


def attention_share(response: xr.DataArray, of: str) -> xr.DataArray:
    """The part of attention sublayers in what builds a response up along l; MLPs have the rest.

    A sublayer that lengthens x_j lowers C_delta = |D_j| / |x_j| without touching D_j, so there is
    no one answer.

    Args:
        response: C_delta of one dj, with dimension position.
        of: `sum`, of all increments (Fig. 3d); `rises`, of the positive ones alone; `gains`, of
            those of log C, of what follows the second attention sublayer.

    Raises:
        ValueError: of is none of these.
    """
    if of == "gains":
        response = xr.apply_ufunc(np.log, response.sel(position=second_attention_on(response)))
    elif of not in SHARES:
        raise ValueError(f"of={of!r}: not defined; use one of {', '.join(SHARES)}")
    steps = increments(response, "delta", normalise=False)
    if of == "rises":
        steps = steps.clip(min=0)
    return attention_sum(steps / steps.sum("position"))


def attention_shares(
    dataset: xr.Dataset, generator: np.random.Generator, n_resamples: int = 400
) -> xr.Dataset:
    """`attention_share` by all definitions at T0 - 1, T0 and a distance of no meaning, T0 - 4.

    Distances that a short block does not have are left out.

    Args:
        dataset: results of one model; its window, at epsilon0.
        generator: of the bootstrap.
        n_resamples: its draws.

    Returns:
        Dataset with `value` and the ends of its interval of 95 %, `low` and `high`, each
        (of, delta_j).
    """
    peak = peak_distance(dataset)
    distances = [dj for dj in (peak, peak + 1, peak - 3) if dj in dataset.window]
    means = resample(dataset, n_resamples, generator).window_mean.sel(metric="delta")
    found = [
        [
            estimate(attention_share(means.sel(window=dj), of), sequences=dataset.sizes["sequence"])
            for dj in distances
        ]
        for of in SHARES
    ]
    dims = ("of", "delta_j")
    return xr.Dataset(
        {
            "value": (dims, [[one.value for one in row] for row in found]),
            "low": (dims, [[one.interval[0] for one in row] for row in found]),
            "high": (dims, [[one.interval[1] for one in row] for row in found]),
        },
        {"of": list(SHARES), "delta_j": distances},
    )


def gains_at_peak(dataset: xr.Dataset, epsilon: float) -> xr.DataArray:
    """What each kind of sublayer has added to log C_delta at T0 - 1, summed up to every l.

    Returns:
        DataArray (sublayer_kind, position), from the second attention sublayer on.
    """
    at = {"metric": "delta", "delta_j": peak_distance(dataset)}
    curve = at_epsilon(dataset.response.sel(at), epsilon)
    logarithm = xr.apply_ufunc(np.log, curve.sel(position=second_attention_on(curve)))
    steps = logarithm.diff("position", label="upper")
    kinds = [kind for kind in ("attention", "mlp", "block") if (steps.sublayer == kind).any()]
    along = xr.Variable("sublayer_kind", kinds)
    return xr.concat(
        [steps.where(steps.sublayer == kind, 0.0).cumsum("position") for kind in kinds], along
    )
