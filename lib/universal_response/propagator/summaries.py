"""What a propagator says, in a few numbers. Pure functions of its Dataset."""

import numpy as np
import xarray as xr

from universal_response.response import mean_and_error, onset_position


def response_by_distance(dataset: xr.Dataset, geometric: bool = False) -> xr.DataArray:
    """C(l' -> l, dj): the mean over sequences, or the geometric one.

    Returns:
        (perturbed_position, position, compared).
    """
    if geometric:
        return np.exp(dataset.log_response.mean("sequence"))
    return dataset.response.mean("sequence")


def at_end(dataset: xr.Dataset) -> xr.Dataset:
    """C(l' -> 2L, dj) with its error over sequences, `mean` and `error`.

    Returns:
        (perturbed_position, compared).
    """
    return mean_and_error(dataset.response.isel(position=-1), "sequence")


def ratio(dataset: xr.Dataset, other: int, distance: int | None = None) -> xr.Dataset:
    """Log-ratio of C at one distance to C at another: geometric means, `mean` and `error`.

    Args:
        dataset: of `measure_propagator`.
        other: a dj among those compared.
        distance: the first of the two; T0 - 1 if None.

    Returns:
        (perturbed_position, position); nan where one of the two does not respond.
    """
    logs = dataset.log_response
    first = int(dataset.attrs["t0"]) - 1 if distance is None else distance
    apart = logs.sel(compared=first, drop=True) - logs.sel(compared=other, drop=True)
    return mean_and_error(apart, "sequence")


def last_above(log_ratio: xr.Dataset) -> int | None:
    """The last l' from which the first distance leads at 2L, by more than two standard errors."""
    at_end = log_ratio.isel(position=-1)
    leads = at_end["mean"] > 2 * at_end.error
    return int(leads.perturbed_position[leads][-1]) if leads.any() else None


def onset(dataset: xr.Dataset) -> xr.DataArray:
    """The l from which on C at T0 - 1 exceeds that at T0, by l'; nan where it never does."""
    t0 = int(dataset.attrs["t0"])
    near = response_by_distance(dataset).sel(compared=[t0 - 1, t0])
    return onset_position(near.rename(compared="delta_j"), t0)
