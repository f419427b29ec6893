"""Averages that few sequences or pairs carry, and what their intervals are worth."""

import numpy as np
import xarray as xr

from universal_response.response.averages import pairs_at
from universal_response.response.bootstrap import bootstrap_weights, estimate
from universal_response.response.selecting import measured_linear


def limit_by_sequence(dataset: xr.Dataset, metric: str) -> xr.DataArray:
    """The limit at l = 2L, mean over the pairs of each sequence (sequence, delta_j).

    Raises:
        ValueError: the results hold no linear limit.
    """
    measured_linear(dataset)
    n = pairs_at(dataset, "last")
    return dataset.linear_last_sum.sel(metric=metric) / n.where(n > 0)


def pairs_alike(values: xr.DataArray) -> xr.DataArray:
    """Intra-class correlation of pairs of one sequence, by analysis of variance; below 0 by chance.

    n pairs that are correlated by r are worth n / (1 + (n - 1) r) independent ones.

    Args:
        values: of every pair, or logarithms, (sequence, draw, ...), the same draws of every
            sequence; NaN where a draw has no pair.
    """
    complete = values.notnull().all("sequence")
    n, values = complete.sum("draw"), values.astype("float64").where(complete)
    between = n * values.mean("draw").var("sequence", ddof=1)
    within = values.var("draw", ddof=1).mean("sequence")
    return (between - within) / (between + (n - 1) * within)


def effective_number(values: xr.DataArray, dim: str) -> xr.DataArray:
    """How many equal numbers would have a mean that scatters as much: (sum x)^2 / sum x^2.

    Args:
        values: not negative; nan where there is none.
        dim: along which they are averaged.
    """
    return values.sum(dim) ** 2 / (values**2).sum(dim)


def cumulative_share(values: xr.DataArray) -> xr.DataArray:
    """The part of the sum that the largest hold: none of them, one, two, ...

    Args:
        values: not negative; nan where there is none.

    Returns:
        DataArray (part,), the coordinate being the part of their number.
    """
    falling = np.sort(values.values[np.isfinite(values.values)])[::-1].astype(float)
    shares = np.concatenate([[0.0], falling.cumsum()]) / falling.sum()
    return xr.DataArray(shares, {"part": np.linspace(0, 1, len(shares))}, "part")


def lognormal_samples(
    spread: float, sequences: int, samples: int, generator: np.random.Generator
) -> xr.DataArray:
    """Samples whose logarithms are normal around 0 with a standard deviation (sample, sequence)."""
    drawn = generator.lognormal(0, spread, (samples, sequences))
    return xr.DataArray(drawn, dims=("sample", "sequence"))


def coverage(
    values: xr.DataArray,
    true: float,
    generator: np.random.Generator,
    geometric: bool = False,
    logarithmic: bool = True,
    n_resamples: int = 400,
) -> float:
    """How often intervals of 95 % hold the true mean, of samples drawn from a known law.

    Args:
        values: one number a sequence, (sample, sequence).
        true: mean of the law, or its geometric mean.
        generator: of the bootstrap.
        geometric: intervals of the geometric mean.
        logarithmic: intervals of `estimate` as claims use them; else the value and 1.96 of its
            bootstrap errors to either side.
        n_resamples: draws of the bootstrap.
    """
    n = values.sizes["sequence"]
    weights = bootstrap_weights("sequence", n, n_resamples, generator)
    averaged = xr.apply_ufunc(np.log, values) if geometric else values
    means = xr.dot(averaged, weights, dim="sequence")
    means = xr.apply_ufunc(np.exp, means) if geometric else means
    sequences = n if logarithmic else None
    found = (
        estimate(means.isel(sample=one), logarithmic, sequences).interval
        for one in range(values.sizes["sample"])
    )
    return float(np.mean([low <= true <= high for low, high in found]))
