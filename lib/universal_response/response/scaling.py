"""How the response grows with strength: scaling function and deviation from it (Fig. 2, 5)."""

import xarray as xr

from universal_response.metrics import METRICS
from universal_response.response.selecting import at_epsilon, last

# Power of epsilon with which each metric grows in the scale-invariant regime (Fig. 2c, 2f).
POWER = {name: metric.power for name, metric in METRICS.items()}


def theory(metric: str, epsilon: xr.DataArray, epsilon0: float) -> xr.DataArray:
    """Scaling function of the scale-invariant regime, (epsilon / epsilon0)^power (Fig. 2c, 2f)."""
    return (epsilon / epsilon0) ** POWER[metric]


def ratios(dataset: xr.Dataset, metric: str, epsilon0: float) -> xr.DataArray:
    """C(epsilon, dj) / C(epsilon0, dj) at l = 2L, the points of Fig. 2c and 2f.

    Returns:
        DataArray (epsilon, delta_j).

    Raises:
        ValueError: epsilon0 was not measured.
    """
    response = dataset.response.sel(metric=metric, position=last(dataset))
    return response / at_epsilon(response, epsilon0)


def scaling_function(dataset: xr.Dataset, metric: str, epsilon0: float) -> xr.Dataset:
    """chi(epsilon): mean over dj of C(epsilon, dj) / C(epsilon0, dj) at l = 2L.

    Returns:
        Dataset with `mean` and `spread` (standard deviation over dj, which is small where chi is
        independent of dj), each (epsilon).
    """
    points = ratios(dataset, metric, epsilon0)
    return xr.Dataset({"mean": points.mean("delta_j"), "spread": points.std("delta_j")})


def relative_deviation(dataset: xr.Dataset, metric: str, epsilon0: float) -> xr.Dataset:
    """delta(epsilon): mean over dj of (C / C(epsilon0) - chi) / chi, chi being the theory.

    The insets of Fig. 5.

    Args:
        dataset: results of one model.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.

    Returns:
        Dataset with `mean` and `spread` over dj, each (epsilon).

    Raises:
        ValueError: epsilon0 was not measured.
    """
    chi = theory(metric, dataset.epsilon, epsilon0)
    points = ratios(dataset, metric, epsilon0) / chi - 1
    return xr.Dataset({"mean": points.mean("delta_j"), "spread": points.std("delta_j")})


def collapsed(dataset: xr.Dataset, metric: str, epsilon0: float) -> xr.Dataset:
    """Response functions divided by chi(epsilon) (Fig. 2b, 2e, 3a, 3b); cosines as they are.

    Returns:
        Dataset with `mean` and its standard error `error`, each (epsilon, position, delta_j).
    """
    at = {"metric": metric}
    chi = scaling_function(dataset, metric, epsilon0)["mean"] if POWER[metric] else 1.0
    return xr.Dataset(
        {"mean": dataset.response.sel(at) / chi, "error": dataset.response_sem.sel(at) / chi}
    )
