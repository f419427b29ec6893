"""What the claims are tested by: each a quantity along `resample`, from results and their means."""

from collections.abc import Callable

import xarray as xr

from universal_response import response

Evaluate = Callable[[xr.Dataset, xr.Dataset], xr.DataArray]


WEAK = 0.1  # the captions of Fig. 2 call strengths below this one small

FIGURE_EPSILON0 = 0.03  # reference strength of Fig. 5


def _weak(values: xr.DataArray, epsilon0: float) -> xr.DataArray:
    """At weak strengths; nan if epsilon0, with which they are compared, is the only one."""
    weak = values.sel(epsilon=values.epsilon < WEAK)
    return weak.where((abs(weak.epsilon / epsilon0 - 1) > 1e-6).any())


def _epsilon0(dataset: xr.Dataset) -> float:
    return float(dataset.attrs["epsilon0"])


def _t0(dataset: xr.Dataset) -> int:
    return int(dataset.attrs["t0"])


def _scaled(dataset: xr.Dataset, means: xr.Dataset, metric: str, epsilon0: float) -> xr.DataArray:
    """C(epsilon) / C(epsilon0) over its theory at l = 2L (epsilon, delta_j, resample)."""
    last = means.last_mean.sel(metric=metric)
    theory = response.theory(metric, last.epsilon, epsilon0)
    return last / response.at_epsilon(last, epsilon0) / theory


def _weakly_scaled(dataset: xr.Dataset, means: xr.Dataset, metric: str) -> xr.DataArray:
    epsilon0 = _epsilon0(dataset)
    return _weak(_scaled(dataset, means, metric, epsilon0), epsilon0)


def prominence(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        t0 = _t0(dataset)
        last = response.at_epsilon(means.last_mean.sel(metric=metric), _epsilon0(dataset))
        near = last.sel(delta_j=response.window(t0))
        return near.sel(delta_j=t0 - 1) / near.drop_sel(delta_j=t0 - 1).max("delta_j")

    return evaluate


def collapse(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weakly_scaled(dataset, means, metric)
        distance = scaled / scaled.mean("delta_j") - 1
        return (distance**2).mean(("delta_j", "epsilon")) ** 0.5

    return evaluate


def theory(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weakly_scaled(dataset, means, metric)
        return abs(scaled.mean("delta_j") - 1).max("epsilon")

    return evaluate


def spread(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weakly_scaled(dataset, means, metric)
        return (scaled.std("delta_j") / scaled.mean("delta_j")).max("epsilon")

    return evaluate


def layers(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        epsilon0 = _epsilon0(dataset)
        peak = means.peak_mean.sel(metric=metric)
        peak = peak.sel(position=response.second_attention_on(peak))
        last = means.last_mean.sel(metric=metric)
        chi = (last / response.at_epsilon(last, epsilon0)).mean("delta_j")
        distance = _weak(peak / response.at_epsilon(peak, epsilon0) / chi, epsilon0) - 1
        return (distance**2).mean(("position", "epsilon")) ** 0.5

    return evaluate


def theta_constant(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    peak = means.peak_mean.sel(metric="theta_source")
    peak = peak.sel(position=response.second_attention_on(peak))
    epsilon0 = _epsilon0(dataset)
    distance = _weak(peak, epsilon0) - response.at_epsilon(peak, epsilon0)
    return (distance**2).mean(("position", "epsilon")) ** 0.5


def _steps(dataset: xr.Dataset, means: xr.Dataset, metric: str) -> xr.DataArray:
    peak = response.at_epsilon(means.peak_mean.sel(metric=metric), _epsilon0(dataset))
    return response.increments(peak, metric)


def attention(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        steps = _steps(dataset, means, metric)
        return steps.sel(position=steps.sublayer == "attention").sum("position")

    return evaluate


def middle_rise(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    rise = _steps(dataset, means, "delta").clip(min=0)
    depth = rise.position / response.last(dataset)
    middle = (depth > 0.25) & (depth <= 0.75)
    return rise.sel(position=middle).sum("position") / rise.sum("position")


def _window(means: xr.Dataset, metric: str = "delta") -> xr.DataArray:
    return means.window_mean.sel(metric=metric).rename(window="delta_j")


def early_at_t0(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    peak = _window(means).idxmax("delta_j")
    depth = peak.position / response.last(dataset)
    return (peak.sel(position=(depth > 0.05) & (depth <= 0.25)) == _t0(dataset)).mean("position")


def onset(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    found = response.onset_position(_window(means), _t0(dataset)) / response.last(dataset)
    return found.fillna(1.0)


def gradual(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    t0, shown = _t0(dataset), _window(means)
    before = shown.sel(delta_j=t0 - 1)
    share = before / (before + shown.sel(delta_j=t0))
    depth = share.position / response.last(dataset)
    low = share.sel(position=(depth > 0.05) & (depth <= 0.25)).mean("position")
    high = share.sel(position=depth > 0.9).mean("position")
    way = ((share - low) / (high - low)).sel(position=depth > 0.05)
    return ((way > 0.1) & (way < 0.9)).sum("position")


def universal(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    high = float(dataset.epsilon.sel(epsilon=FIGURE_EPSILON0, method="nearest"))
    low = high / 100
    scaled = _scaled(dataset, means, "delta", high).mean("delta_j") - 1
    inside = (scaled.epsilon > 0.99 * low) & (scaled.epsilon < 1.01 * high)
    reaches = (scaled.epsilon.where(inside) < 1.01 * low).any()
    return abs(scaled.sel(epsilon=inside)).max("epsilon").where(reaches)


def _from_limit(means: xr.Dataset, metric: str) -> xr.DataArray:
    last, linear = means.last_mean.sel(metric=metric), means.linear_last_mean.sel(metric=metric)
    return response.linear_ratio(last, linear, metric).mean("delta_j") - 1


def limit(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        off = abs(_from_limit(means, metric))
        # nan where it was not measured
        return off.where(abs(off.epsilon / 0.003 - 1) < 1e-6).max("epsilon")

    return evaluate


def largest(metric: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        return response.largest_epsilon(_from_limit(means, metric))

    return evaluate
