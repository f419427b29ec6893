"""Response functions and what is read off them: pure functions of C(i, j) and of its averages."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from universal_response.pairs import response_function as response_function

# Power of epsilon with which each metric grows in the scale-invariant regime (Fig. 2c, 2f).
POWER = {"delta": 1, "phi": 2, "theta_source": 0, "theta_state": 0, "theta_perturbation": 0}


def theory(metric: str, epsilon: xr.DataArray, epsilon0: float) -> xr.DataArray:
    """Scaling function of the scale-invariant regime, (epsilon / epsilon0)^power (Fig. 2c, 2f)."""
    return (epsilon / epsilon0) ** POWER[metric]


def last(dataset: xr.Dataset) -> int:
    """Index l of the last position of the residual stream (2L)."""
    return int(dataset.position[-1])


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


def linear_ratio(response: xr.DataArray, linear: xr.DataArray, metric: str) -> xr.DataArray:
    """C(epsilon) over its linear limit, C / (epsilon^power * linear); tends to 1 with epsilon -> 0.

    Args:
        response: array with dimension epsilon, of one metric.
        linear: the exact limit, with the same other dimensions.
        metric: delta or phi; a cosine (power 0) tends to `linear` itself.
    """
    return response / (response.epsilon ** POWER[metric] * linear)


def linear_deviation(dataset: xr.Dataset, metric: str) -> xr.Dataset:
    """Mean over dj of `linear_ratio` - 1 at l = 2L: delta(epsilon) with the exact limit as theory.

    Returns:
        Dataset with `mean` and `spread` over dj, each (epsilon).

    Raises:
        ValueError: the results hold no linear limit.
    """
    at = {"metric": metric, "position": last(dataset)}
    linear = measured_linear(dataset).sel(at)
    points = linear_ratio(dataset.response.sel(at), linear, metric) - 1
    return xr.Dataset({"mean": points.mean("delta_j"), "spread": points.std("delta_j")})


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


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error over sequences."""

    value: float
    error: float


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
    n = dataset.sizes["sequence"]
    drawn = generator.multinomial(n, np.full(n, 1 / n), size=n_resamples) / n
    if n == 1:
        drawn = np.full_like(drawn, np.nan)
    weights = xr.DataArray(
        np.concatenate([np.full((1, n), 1 / n), drawn]), dims=("resample", "sequence")
    )

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


def estimate(resampled: xr.DataArray) -> Estimate:
    """Value and bootstrap standard error of a quantity computed from `resample`."""
    draws = resampled.isel(resample=slice(1, None))
    return Estimate(float(resampled.isel(resample=0)), float(draws.std(ddof=1)))


def second_attention_on(response: xr.DataArray) -> xr.DataArray:
    """Positions from the second attention sublayer on, the first that can pass a response on.

    Up to there another token responds only through the constant of the norm (method page, "Why the
    first layer hardly notices"): its cosines are exact, but those of that leak.

    Args:
        response: with the coordinate `sublayer` along `position`.
    """
    return response.sublayer.isin(["attention", "block"]).cumsum("position") >= 2


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


def peak_distance(dataset: xr.Dataset) -> int:
    """The dj at which a peak is expected, T0 - 1 where a block is repeated.

    Raises:
        ValueError: it is expected nowhere.
    """
    distance = dataset.attrs["distance"]
    if distance == "none":
        raise ValueError("distance: no peak is expected in these results; measure with distance=dj")
    return int(distance)


def window(t0: int, half_width: int = 5, t: int | None = None) -> np.ndarray:
    """The dj = T0 - 5 .. T0 + 5 shown in Fig. 4 and 5, cut at the ends of the sequence.

    Args:
        t0: its middle.
        half_width: dj on either side.
        t: length T of the sequence; 2 T0 if None.
    """
    last = (2 * t0 if t is None else t) - 1
    return np.arange(max(t0 - half_width, 0), min(t0 + half_width, last) + 1)


@dataclass(frozen=True)
class InductionOnset:
    """Where the peak within the window settles at dj = T0 - 1.

    Attributes:
        position: smallest l from which the largest value in the window stays at T0 - 1; None if it
            never does. A tie counts as not at T0 - 1.
        resolved: the same, asking in addition that the lead over every other dj in the window
            exceeds two combined standard errors; None if never (or with a single sequence).
        peak: dj of the largest value at each l, shape (position,).
    """

    position: int | None
    resolved: int | None
    peak: xr.DataArray


def induction_onset(dataset: xr.Dataset, epsilon: float, metric: str = "delta") -> InductionOnset:
    """Find where the response moves from the same token to the one before it (Fig. 4).

    Args:
        dataset: results of one model.
        epsilon: strength, one of those measured.
        metric: name of the metric.

    Raises:
        ValueError: epsilon was not measured.
    """
    t0 = peak_distance(dataset) + 1
    at = {"metric": metric, "delta_j": window(t0, t=dataset.sizes["delta_j"])}
    response = at_epsilon(dataset.response.sel(at), epsilon).transpose("position", "delta_j")
    error = at_epsilon(dataset.response_sem.sel(at), epsilon).transpose("position", "delta_j")
    doubt = 2 * np.hypot(error.sel(delta_j=t0 - 1), error.drop_sel(delta_j=t0 - 1))
    return InductionOnset(
        position=_if_any(onset_position(response, t0)),
        resolved=_if_any(_settles((_lead(response, t0) > doubt).all("delta_j"))),
        peak=response.idxmax("delta_j"),
    )


def same_token_position(dataset: xr.Dataset, epsilon: float, metric: str = "delta") -> int | None:
    """Position where the response at dj = T0 exceeds that at T0 - 1 by the largest factor.

    Only positions count from the second attention sublayer on at which the peak within
    dj = T0-5 .. T0+5 stands at T0; None if there is none.
    """
    t0 = peak_distance(dataset) + 1
    at = {"metric": metric, "delta_j": window(t0, t=dataset.sizes["delta_j"])}
    response = at_epsilon(dataset.response, epsilon).sel(at)
    factor = (response.sel(delta_j=t0) / response.sel(delta_j=t0 - 1)).where(
        (response.idxmax("delta_j") == t0) & second_attention_on(response)
    )
    return None if factor.isnull().all() else int(factor.idxmax("position"))


def onset_position(response: xr.DataArray, t0: int) -> xr.DataArray:
    """`InductionOnset.position` of many windows at once, nan where the peak never settles.

    Args:
        response: array with dimensions position and delta_j, the latter the window.
    """
    return _settles((_lead(response, t0) > 0).all("delta_j"))


def _lead(response: xr.DataArray, t0: int) -> xr.DataArray:
    """By how much T0 - 1 exceeds every other dj of the window."""
    return response.sel(delta_j=t0 - 1) - response.drop_sel(delta_j=t0 - 1)


def at_epsilon(array: xr.DataArray, epsilon: float) -> xr.DataArray:
    """The entry of one measured strength.

    Args:
        array: any array with dimension epsilon.
        epsilon: the strength, to six digits.

    Returns:
        The array without that dimension.

    Raises:
        ValueError: epsilon was not measured.
    """
    found = np.isclose(array.epsilon, epsilon, rtol=1e-6, atol=0)
    if not found.any():
        measured = ", ".join(f"{value:g}" for value in array.epsilon.values)
        raise ValueError(f"epsilon={epsilon:g} was not measured; choose one of {measured}")
    return array.isel(epsilon=int(found.argmax()))


def measured_linear(dataset: xr.Dataset) -> xr.DataArray:
    """The exact limit epsilon -> 0 of C / epsilon^power.

    Args:
        dataset: results of one model.

    Returns:
        DataArray (metric, position, delta_j).

    Raises:
        ValueError: the results hold no linear limit.
    """
    if "linear" not in dataset:
        raise ValueError("linear: not in these results; measure with linear=True")
    return dataset.linear


def _settles(holds: xr.DataArray) -> xr.DataArray:
    """Smallest position from which a condition holds to the end; nan where there is none."""
    settled = holds.isel(position=slice(None, None, -1)).cumprod("position").sum("position")
    first = holds.sizes["position"] - settled
    return (first + int(holds.position[0])).where(settled > 0)


def _if_any(position: xr.DataArray) -> int | None:
    return None if position.isnull() else int(position)
