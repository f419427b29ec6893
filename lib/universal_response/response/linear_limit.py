"""The approach to the exact limit of weak perturbations."""

import numpy as np
import xarray as xr

from universal_response.response.scaling import POWER
from universal_response.response.selecting import at_epsilon, last, measured_linear


def linear_ratio(response: xr.DataArray, linear: xr.DataArray, metric: str) -> xr.DataArray:
    """C(epsilon) over its linear limit, C / (epsilon^power * linear); tends to 1 with epsilon -> 0.

    Args:
        response: array with dimension epsilon, of one metric.
        linear: the exact limit, with the same other dimensions.
        metric: delta or phi; a cosine (power 0) tends to `linear` itself.
    """
    return response / (response.epsilon ** POWER[metric] * linear)


def last_ratio(dataset: xr.Dataset, metric: str) -> xr.DataArray:
    """`linear_ratio` at l = 2L, (epsilon, delta_j).

    Raises:
        ValueError: the results hold no linear limit.
    """
    at = {"metric": metric, "position": last(dataset)}
    return linear_ratio(dataset.response.sel(at), measured_linear(dataset).sel(at), metric)


def limit_of_ratios(dataset: xr.Dataset, metric: str, epsilon0: float) -> xr.DataArray:
    """What C(epsilon) / C(epsilon0) at l = 2L would be in the limit, mean over dj (Fig. 2c, 2f)."""
    at = {"metric": metric, "position": last(dataset)}
    reference = at_epsilon(dataset.response.sel(at), epsilon0)
    unit = (measured_linear(dataset).sel(at) / reference).mean("delta_j")
    return dataset.epsilon ** POWER[metric] * float(unit)


def limit_maps(dataset: xr.Dataset, metric: str = "delta") -> xr.Dataset:
    """C(i, j) of a prompt at every position, at finite strength beside the exact limit.

    Args:
        dataset: results of a prompt, with their maps.
        metric: delta or phi.

    Returns:
        Dataset with `finite`, C at epsilon0 over epsilon0^power; `limit`, what it tends to; and
        their `ratio`, nan where nothing responds: each (position, source, target).

    Raises:
        ValueError: the results hold no maps.
    """
    if not {"map", "linear_map"} <= set(dataset):
        raise ValueError(
            "map: not in these results; measure a shorter text, with a strength and linear=True"
        )
    # Not `dataset.map`, which is a method.
    finite, limit = (dataset[name].sel(metric=metric) for name in ("map", "linear_map"))
    finite = finite / float(dataset.attrs["epsilon0"]) ** POWER[metric]
    return xr.Dataset({"finite": finite, "limit": limit, "ratio": finite / limit.where(limit > 0)})


def weak_deviation(dataset: xr.Dataset, metric: str, epsilon0: float) -> float:
    """delta(epsilon) of Fig. 5 for epsilon -> 0: what the reference lacks in weakness."""
    return float((1 / at_epsilon(last_ratio(dataset, metric), epsilon0)).mean("delta_j")) - 1


def higher_orders(ratio: xr.DataArray, largest: float = 0.1) -> tuple[xr.DataArray, xr.DataArray]:
    """Coefficients b, c of C / linear = 1 + b epsilon + c epsilon^2, by least squares.

    b belongs to the second order of the response in epsilon, c to the third.

    Args:
        ratio: `linear_ratio`, with dimension epsilon.
        largest: strengths up to this one are fitted; nan if there are fewer than two.
    """
    fitted = ratio.sel(epsilon=ratio.epsilon <= largest * (1 + 1e-6))
    if fitted.epsilon.size < 2:
        unknown = xr.full_like(ratio.isel(epsilon=0, drop=True), np.nan)
        return unknown, unknown
    epsilon, excess = fitted.epsilon, fitted - 1
    moments = {power: float((epsilon**power).sum()) for power in (2, 3, 4)}
    first, second = (excess * epsilon).sum("epsilon"), (excess * epsilon**2).sum("epsilon")
    determinant = moments[2] * moments[4] - moments[3] ** 2
    b = (first * moments[4] - second * moments[3]) / determinant
    c = (second * moments[2] - first * moments[3]) / determinant
    return b, c


def largest_epsilon(deviation: xr.DataArray, tolerance: float = 0.05) -> xr.DataArray:
    """Strength up to which |deviation| < tolerance, between strengths linear in log epsilon.

    Args:
        deviation: array with dimension epsilon, in rising order.

    Returns:
        The array without epsilon; the largest measured strength where the tolerance is never
        reached, nan where the weakest already exceeds it.
    """
    return xr.apply_ufunc(
        _crossing,
        np.log(deviation.epsilon),
        np.abs(deviation),
        kwargs={"tolerance": tolerance},
        input_core_dims=[["epsilon"], ["epsilon"]],
        vectorize=True,
    )


def _crossing(log_epsilon: np.ndarray, size: np.ndarray, tolerance: float) -> float:
    beyond = np.flatnonzero(size >= tolerance)
    if len(beyond) == 0:
        return float(np.exp(log_epsilon[-1]))
    first = int(beyond[0])
    if first == 0:
        return float("nan")
    inside = slice(first - 1, first + 1)
    return float(np.exp(np.interp(tolerance, size[inside], log_epsilon[inside])))


def orders(dataset: xr.Dataset, metric: str) -> xr.Dataset:
    """Distance from the limit at l = 2L, and the size of its first two terms (`higher_orders`).

    Returns:
        Dataset with `excess` = C / (epsilon^power linear) - 1 (epsilon, delta_j), its `mean` and
        root mean square `rms` over dj, and the root mean squares of b epsilon (`second`) and of
        c epsilon^2 (`third`), each (epsilon).
    """
    ratio = last_ratio(dataset, metric)
    b, c = higher_orders(ratio)
    excess = ratio - 1
    return xr.Dataset(
        {
            "excess": excess,
            "mean": excess.mean("delta_j"),
            "rms": root_mean_square(excess),
            "second": float(root_mean_square(b)) * ratio.epsilon,
            "third": float(root_mean_square(c)) * ratio.epsilon**2,
        }
    )


def predicted_deviation(
    dataset: xr.Dataset, metric: str, epsilon0: float, epsilon: xr.DataArray
) -> xr.DataArray:
    """delta(epsilon) of Fig. 5 from the limit and `higher_orders`, mean over dj.

    Args:
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
        epsilon0: reference strength.
        epsilon: strengths to predict it at, whether measured or not.
    """
    b, c = higher_orders(last_ratio(dataset, metric))
    reference = 1 + b * epsilon0 + c * epsilon0**2
    return ((1 + b * epsilon + c * epsilon**2) / reference - 1).mean("delta_j")


def root_mean_square(values: xr.DataArray) -> xr.DataArray:
    """Over dj, where deviations of either sign count."""
    return (values**2).mean("delta_j") ** 0.5
