"""What a propagator says, in a few numbers. Pure functions of its Dataset."""

import numpy as np
import xarray as xr

from universal_response.response import mean_and_error


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


def ratio(dataset: xr.Dataset, other: int) -> xr.Dataset:
    """Log-ratio of C at T0 - 1 to C at another distance: geometric means, `mean` and `error`.

    Args:
        dataset: of `measure_propagator`.
        other: a dj among those compared.

    Returns:
        (perturbed_position, position); nan where one of the two does not respond.
    """
    logs = dataset.log_response
    expected = logs.sel(compared=int(dataset.attrs["t0"]) - 1, drop=True)
    return mean_and_error(expected - logs.sel(compared=other, drop=True), "sequence")
