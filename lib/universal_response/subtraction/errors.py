"""The error of the plain way: by strength and number type, and where it can be trusted."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr


def relative_error(dataset: xr.Dataset) -> xr.DataArray:
    """|C - C_carried| / C_carried of every pair; infinite where the plain way gives no number."""
    error = abs(dataset.subtracted - dataset.carried) / dataset.carried
    overflown = dataset.subtracted.isnull() & dataset.carried.notnull()
    return error.where(~overflown, np.inf)


def typical_error(dataset: xr.Dataset, quantile: float = 0.5) -> xr.DataArray:
    """A quantile over pairs of the relative error, (number_type, epsilon)."""
    pairs = relative_error(dataset).stack(pair=("draw", "target"))
    return (
        pairs.dropna("pair", how="all")
        .quantile(quantile, "pair", method="inverted_cdf")
        .drop_vars("quantile")
    )


def weakest_strength(error: xr.DataArray, bound: float) -> float | None:
    """Weakest strength from which on an error (epsilon,) stays below a bound; None if at none."""
    above = (error >= bound).values
    first = int(above.size - above[::-1].argmax()) if above.any() else 0
    return float(error.epsilon[first]) if first < above.size else None


def regimes(
    dataset: xr.Dataset,
    bounds: Sequence[float] = (0.01, 0.1, 1.0),
    strengths: Sequence[float] = (0.001, 0.1),
) -> pd.DataFrame:
    """Where subtraction can be trusted, a row a number type.

    Args:
        dataset: of `measure_subtraction`.
        bounds: of the median error; the weakest strength from which on it stays below each.
        strengths: at which the median error is told, the nearest measured ones.
    """
    rows = {}
    for error in typical_error(dataset):
        weakest = {
            f"below {bound:.0%} from": weakest_strength(error, bound) or np.nan for bound in bounds
        }
        told = {
            f"error at {strength:g}": float(error.sel(epsilon=strength, method="nearest"))
            for strength in strengths
        }
        rows[str(error.number_type.item())] = weakest | told
    return pd.DataFrame.from_dict(rows, orient="index")
