"""Means over pairs and sequences with their standard errors, arithmetic and geometric."""

import numpy as np
import xarray as xr

from universal_response.response.selecting import peak_distance


def pairs_at(dataset: xr.Dataset, place: str) -> xr.DataArray:
    """How many pairs (i, i + dj) the sums of each sequence are taken over.

    Args:
        dataset: results.
        place: `last` (sequence, delta_j), `peak` (sequence,) or `window` (sequence, window).
    """
    n = dataset.n_pairs
    if place == "last":
        return n
    where = peak_distance(dataset) if place == "peak" else dataset.window
    return n.sel(delta_j=where).drop_vars("delta_j")


def mean_over_pairs(sums: xr.DataArray, n: xr.DataArray) -> xr.DataArray:
    """Mean over all pairs of all sequences; nan where there is none.

    Args:
        sums: of each sequence, with dimension `sequence`.
        n: numbers of pairs in them.
    """
    total = n.sum("sequence")
    return sums.sum("sequence", dtype=float) / total.where(total > 0)


def error_over_pairs(sums: xr.DataArray, n: xr.DataArray) -> xr.DataArray:
    """Standard error over sequences of `mean_over_pairs`.

    A mean of sequences with unequal numbers of pairs is a ratio of two sums, linearised; with equal
    numbers it is the usual error of the mean. nan where fewer than two sequences have pairs.
    """
    known = (n > 0).sum("sequence")
    deviation = sums - mean_over_pairs(sums, n) * n
    variance = (deviation**2).sum("sequence") * known / (known - 1).where(known > 1)
    return variance**0.5 / n.sum("sequence")


def geometric_over_pairs(
    log_sums: xr.DataArray, n: xr.DataArray
) -> tuple[xr.DataArray, xr.DataArray]:
    """Geometric mean and its standard error: logarithms averaged in each sequence, then over them.

    Args:
        log_sums: of each sequence, with dimension `sequence`.
        n: numbers of pairs in them, those with C > 0; sequences with none do not count.

    Returns:
        Both nan where no sequence counts, the error also for a single one.
    """
    known = n > 0
    each = log_sums.astype(float) / n.where(known)
    mean, count = xr.apply_ufunc(np.exp, each.mean("sequence")), known.sum("sequence")
    squares = ((each - each.mean("sequence")) ** 2).sum("sequence")
    return mean, mean * (squares / (count * (count - 1).where(count > 1))) ** 0.5


def geometric_mean(dataset: xr.Dataset, place: str, linear: bool = False) -> xr.Dataset:
    """Geometric mean of C_delta and C_phi at the last position, the peak or the window.

    Args:
        dataset: results.
        place: `last`, `peak` or `window`.
        linear: that of the limit.

    Returns:
        Dataset with `mean`, its standard error `sem`, and `fraction`, of the pairs with C > 0.
    """
    name = f"{'linear_' if linear else ''}{place}"
    n = dataset[f"{name}_log_n"]
    mean, error = geometric_over_pairs(dataset[f"{name}_log_sum"], n)
    fraction = mean_over_pairs(n, pairs_at(dataset, place)).where(mean.notnull())
    return xr.Dataset({"mean": mean, "sem": error, "fraction": fraction})


def mean_and_error(values: xr.DataArray, dim: str) -> xr.Dataset:
    """Mean over sequences and its standard error, as variables `mean` and `error`."""
    n = values.notnull().sum(dim)
    error = (
        values.std(dim, ddof=1) / np.sqrt(n)
        if values.sizes[dim] > 1
        else values.isel({dim: 0}) * np.nan
    )
    return xr.Dataset({"mean": values.mean(dim), "error": error})
