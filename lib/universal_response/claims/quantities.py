"""What the claims are tested by: each a quantity along `resample`, from results and their means.

`mean` is arithmetic, as in the paper, or geometric, in which no few pairs or sequences prevail.
"""

from collections.abc import Callable

import xarray as xr

from universal_response import response

Evaluate = Callable[[xr.Dataset, xr.Dataset], xr.DataArray]


ARITHMETIC, GEOMETRIC = "arithmetic", "geometric"

WEAK = 0.1  # the captions of Fig. 2 call strengths below this one small

FIGURE_EPSILON0 = 0.03  # reference strength of Fig. 5


def _averages(means: xr.Dataset, place: str, mean: str, metric: str) -> xr.DataArray:
    """Of `response.resample`, at the last position, the peak or the window."""
    kind = "mean" if mean == ARITHMETIC else mean
    return means[f"{place}_{kind}"].sel(metric=metric)


def _others(values: xr.DataArray, epsilon0: float) -> xr.DataArray:
    """Without epsilon0, where what is taken in units of it is 1; nan if there is no other."""
    other = abs(values.epsilon / epsilon0 - 1) > 1e-6
    return values.sel(epsilon=other) if other.any() else values.where(False)


def _weak(values: xr.DataArray, epsilon0: float) -> xr.DataArray:
    """At weak strengths but epsilon0."""
    return _others(values.sel(epsilon=values.epsilon < WEAK), epsilon0)


def _epsilon0(dataset: xr.Dataset) -> float:
    return float(dataset.attrs["epsilon0"])


def _t0(dataset: xr.Dataset) -> int:
    return int(dataset.attrs["t0"])


def _scaled(averages: xr.DataArray, metric: str, epsilon0: float) -> xr.DataArray:
    """C(epsilon) / C(epsilon0) over its theory, of averages of one metric."""
    theory = response.theory(metric, averages.epsilon, epsilon0)
    return averages / response.at_epsilon(averages, epsilon0) / theory


def _weakly_scaled(dataset: xr.Dataset, means: xr.Dataset, metric: str, mean: str) -> xr.DataArray:
    """The same at l = 2L and weak strengths (epsilon, delta_j, resample)."""
    epsilon0 = _epsilon0(dataset)
    last = _averages(means, "last", mean, metric)
    return _weak(_scaled(last, metric, epsilon0), epsilon0)


def prominence(metric: str, mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        t0 = _t0(dataset)
        last = response.at_epsilon(_averages(means, "last", mean, metric), _epsilon0(dataset))
        near = last.sel(delta_j=response.window(t0))
        return near.sel(delta_j=t0 - 1) / near.drop_sel(delta_j=t0 - 1).max("delta_j")

    return evaluate


def theory(metric: str, mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weakly_scaled(dataset, means, metric, mean)
        return abs(scaled.mean("delta_j") - 1).max("epsilon")

    return evaluate


def over_distances(metric: str, mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weakly_scaled(dataset, means, metric, mean)
        return (scaled.std("delta_j") / scaled.mean("delta_j")).max("epsilon")

    return evaluate


def over_positions(metric: str, mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        epsilon0 = _epsilon0(dataset)
        peak = _averages(means, "peak", mean, metric)
        peak = peak.sel(position=response.second_attention_on(peak))
        scaled = _weak(_scaled(peak, metric, epsilon0), epsilon0)
        return (scaled.std("position") / scaled.mean("position")).max("epsilon")

    return evaluate


def theta_constant(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    peak = means.peak_mean.sel(metric="theta_source")
    peak = peak.sel(position=response.second_attention_on(peak))
    epsilon0 = _epsilon0(dataset)
    reference = response.at_epsilon(peak, epsilon0)
    distance = ((_weak(peak, epsilon0) - reference) ** 2).mean("position").max("epsilon")
    return (distance / (reference**2).mean("position")) ** 0.5


def _steps(dataset: xr.Dataset, means: xr.Dataset, metric: str) -> xr.DataArray:
    peak = response.at_epsilon(means.peak_mean.sel(metric=metric), _epsilon0(dataset))
    return response.increments(peak, metric)


def attention(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        return response.attention_sum(_steps(dataset, means, metric))

    return evaluate


def middle_rise(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    rise = _steps(dataset, means, "delta").clip(min=0)
    depth = rise.position / response.last(dataset)
    middle = (depth > 0.25) & (depth <= 0.75)
    return rise.sel(position=middle).sum("position") / rise.sum("position")


def _window(means: xr.Dataset, mean: str) -> xr.DataArray:
    return _averages(means, "window", mean, "delta").rename(window="delta_j")


def early_at_t0(mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        peak = _window(means, mean).idxmax("delta_j")
        depth = peak.position / response.last(dataset)
        early = peak.sel(position=(depth > 0.05) & (depth <= 0.25))
        return (early == _t0(dataset)).mean("position")

    return evaluate


def onset(mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        found = response.onset_position(_window(means, mean), _t0(dataset))
        return (found / response.last(dataset)).fillna(1.0)

    return evaluate


def largest_step(mean: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        way = response.way_to_peak(_window(means, mean), _t0(dataset))
        return response.largest_step(way).max("position")

    return evaluate


def universal(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    high = float(dataset.epsilon.sel(epsilon=FIGURE_EPSILON0, method="nearest"))
    low = high / 100
    scaled = _scaled(means.last_mean.sel(metric="delta"), "delta", high).mean("delta_j") - 1
    inside = (scaled.epsilon > 0.99 * low) & (scaled.epsilon < 1.01 * high)
    reaches = (scaled.epsilon.where(inside) < 1.01 * low).any()
    return abs(scaled.sel(epsilon=inside)).max("epsilon").where(reaches)


def _from_limit(means: xr.Dataset, metric: str) -> xr.DataArray:
    last, linear = means.last_mean.sel(metric=metric), means.linear_last_mean.sel(metric=metric)
    return response.linear_ratio(last, linear, metric) - 1


def limit(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        off = response.root_mean_square(_from_limit(means, metric))
        # nan where it was not measured
        return off.where(abs(off.epsilon / 0.003 - 1) < 1e-6).max("epsilon")

    return evaluate


def largest_at_peak(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        off = _from_limit(means, metric).sel(delta_j=_t0(dataset) - 1)
        return response.largest_epsilon(off)

    return evaluate


def largest_overall(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        return response.largest_epsilon(response.root_mean_square(_from_limit(means, metric)))

    return evaluate
