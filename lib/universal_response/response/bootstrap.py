"""Errors of anything computed from means: sequences drawn with replacement."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from universal_response.response.averages import pairs_at


@dataclass(frozen=True)
class Estimate:
    """A number and how well it is known.

    Attributes:
        value: the number.
        error: its standard error over sequences, or that of its logarithm.
        logarithmic: which of the two. Of a positive number whose errors have a long tail the
            logarithm has errors that are nearly symmetric.
        freedom: degrees of freedom of Student's t.
    """

    value: float
    error: float
    logarithmic: bool = False
    freedom: float = math.inf

    def moved(self, errors: float) -> float:
        """The number so many standard errors away."""
        shift = errors * self.error
        return self.value * math.exp(shift) if self.logarithmic else self.value + shift

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        t = float(stats.t.ppf(0.975, self.freedom))
        return self.moved(-t), self.moved(t)


def resample(dataset: xr.Dataset, n_resamples: int, generator: np.random.Generator) -> xr.Dataset:
    """Means over sequences drawn with replacement (bootstrap), of all that is kept per sequence.

    A quantity computed from the result has the dimension `resample`; `estimate` reads value and
    error off it. Numbers of one sequence stay together, so errors of ratios and differences are
    those of pairs.

    Args:
        dataset: results.
        n_resamples: how many draws.
        generator: decides the draws.

    Returns:
        `last_mean`, `peak_mean` and `window_mean` of the sums in the dataset, `last_geometric` and
        so on of those of logarithms, and the same of the limit (`linear_last_mean`), where
        measured, with `resample` instead of `sequence`. Entry 0 is the mean over all sequences as
        measured. The draws of a single sequence are nan: it tells nothing of the error.
    """
    weights = bootstrap_weights("sequence", dataset.sizes["sequence"], n_resamples, generator)

    def ratio(above: xr.DataArray, below: xr.DataArray) -> xr.DataArray:
        of_draws = [xr.dot(part.astype(float), weights, dim="sequence") for part in (above, below)]
        return of_draws[0] / of_draws[1].where(of_draws[1] != 0)

    found = {}
    for place in ("last", "peak", "window"):
        for name in (place, f"linear_{place}"):
            if f"{name}_sum" in dataset:
                found[f"{name}_mean"] = ratio(dataset[f"{name}_sum"], pairs_at(dataset, place))
            if f"{name}_log_sum" in dataset:
                known = dataset[f"{name}_log_n"]
                each = dataset[f"{name}_log_sum"] / known.where(known > 0)
                logarithm = ratio(each.fillna(0), known > 0)
                found[f"{name}_geometric"] = xr.apply_ufunc(np.exp, logarithm)
    return xr.Dataset(found)


def bootstrap_weights(
    dim: str, n: int, n_resamples: int, generator: np.random.Generator
) -> xr.DataArray:
    """Weights of n things in means over things drawn with replacement, (resample, dim).

    Entry 0 weighs all the same. The draws of a single thing are nan: it tells nothing of the error.
    """
    drawn = generator.multinomial(n, np.full(n, 1 / n), size=n_resamples) / n
    if n == 1:
        drawn = np.full_like(drawn, np.nan)
    return xr.DataArray(np.concatenate([np.full((1, n), 1 / n), drawn]), dims=("resample", dim))


def estimate(
    resampled: xr.DataArray, logarithmic: bool = False, sequences: int | None = None
) -> Estimate:
    """Value and bootstrap error of a quantity computed from `resample`.

    Args:
        resampled: along `resample`.
        logarithmic: whether the error is that of the logarithm, if all draws have one.
        sequences: how many were drawn. Draws with replacement scatter too little by
            sqrt(1 - 1 / n), which is mended, and errors found from few of them are themselves
            uncertain, of which Student's t takes account; neither, if None.
    """
    value, draws = float(resampled.isel(resample=0)), resampled.isel(resample=slice(1, None))
    logarithmic = logarithmic and bool((draws > 0).all())
    error = float((xr.apply_ufunc(np.log, draws) if logarithmic else draws).std(ddof=1))
    if sequences is None:
        return Estimate(value, error, logarithmic)
    widened = error * math.sqrt(sequences / (sequences - 1)) if sequences > 1 else math.nan
    return Estimate(value, widened, logarithmic, sequences - 1)
