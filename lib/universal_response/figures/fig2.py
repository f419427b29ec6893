"""Fig. 2: a scale-invariant response."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from universal_response import response
from universal_response.figures.panels import (
    as_measured,
    by_strength,
    epsilon_colorbar,
    log_scale,
    log_ticks,
    stack,
)
from universal_response.figures.style import (
    ACCENT,
    CATEGORIES,
    GREY,
    colormap,
    distance_name,
    epsilon_colours,
    is_cosine,
    style,
    symbol,
    symbol_chi,
    symbol_mean,
    tag,
)


def fig2(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi")) -> Figure:
    """Fig. 2 (a-f): response matrices, collapse of the response functions, scaling function.

    Below (b, e): the same curves as measured. Below (c, f): the ratios against their theory.
    """
    with style():
        figure = plt.figure(figsize=(7.4, 7.6), layout="constrained")
        cells = figure.add_gridspec(4, 3, width_ratios=(1.3, 1, 1))
        for row, metric in enumerate(metrics):
            ratio = _draw_metric(figure, cells, row, dataset, metric)
        epsilon_colorbar(figure, dataset)
        figure.legend(handles=ratio_handles(ratio), loc="outside lower center", ncols=4)
    return figure


def _draw_metric(
    figure: Figure, cells: GridSpec, row: int, dataset: xr.Dataset, metric: str
) -> Axes:
    """Panels of one metric: its matrix and two pairs, one above the other; returns the ratios'."""
    epsilon0, (upper, lower) = float(dataset.attrs["epsilon0"]), (2 * row, 2 * row + 1)
    matrix = figure.add_subplot(cells[upper : lower + 1, 0])
    image = matrix_panel(matrix, dataset, metric)
    matrix.set_anchor("N")
    bar = matrix.inset_axes((0.04, 0.2, 0.5, 0.05))  # below the diagonal, where nothing is
    figure.colorbar(image, cax=bar, orientation="horizontal", label=f"${symbol(metric)}$")
    if not is_cosine(metric):
        log_ticks(bar.xaxis, (1, 3))
    collapse, unscaled = (figure.add_subplot(cells[each, 1]) for each in (upper, lower))
    collapse_panel(collapse, dataset, metric)
    unscaled_panel(unscaled, dataset, metric)
    ratio, deviation = (figure.add_subplot(cells[each, 2]) for each in (upper, lower))
    ratio_panel(ratio, dataset, metric, epsilon0)
    deviation_panel(deviation, dataset, metric, epsilon0)
    first, second, third = list("abcdef")[3 * row : 3 * row + 3]
    tag(matrix, first)
    stack(collapse, unscaled, second)
    stack(ratio, deviation, third)
    return ratio


def matrix_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> AxesImage:
    """Response matrix C(i, j) at l = 2L and epsilon0 (Fig. 2a, 2d).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.

    Returns:
        The image, for a colour bar.
    """
    matrix = dataset.matrix.sel(metric=metric).values
    causal = np.where(np.triu(np.ones_like(matrix)) > 0, matrix, np.nan)
    if is_cosine(metric):
        norm: Normalize = Normalize(-1, 1)
    else:
        norm = LogNorm(*np.nanpercentile(causal[causal > 0], (2, 99.8)))
    image = axes.imshow(causal, norm=norm, cmap=colormap(metric), origin="upper")
    if dataset.attrs["distance"] != "none":
        mark_diagonal(axes, dataset)
    axes.set_xlabel("target $j$")
    axes.set_ylabel("source $i$")
    t = len(matrix)
    ticks = np.arange(0, t + 1, max(t // 4, 1))
    axes.set_xticks(ticks[ticks < t])
    axes.set_yticks(ticks[ticks < t])
    axes.spines[["left", "bottom"]].set_visible(False)
    return image


def mark_diagonal(axes: Axes, dataset: xr.Dataset) -> None:
    """Where the diagonal of the peak enters and leaves the matrix; a line along it would hide it.

    Args:
        axes: with the matrix.
        dataset: results of one model.
    """
    t, peak = dataset.sizes["target"], response.peak_distance(dataset)
    for where in ((peak, -0.5), (t - 0.5, t - 1 - peak)):
        axes.plot(
            *where, marker="v" if where[1] < 0 else "<", color=ACCENT, markersize=5, clip_on=False
        )
    axes.text(
        peak, -0.035 * t, rf"$\Delta j={distance_name(dataset, 0)}$", color=ACCENT, ha="center",
        va="bottom", fontsize=8,
    )  # fmt: skip


def collapse_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response functions at l = 2L divided by chi(epsilon), with their errors (Fig. 2b, 2e).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
    """
    scaled = response.collapsed(dataset, metric, float(dataset.attrs["epsilon0"]))
    scaled = scaled.sel(position=response.last(dataset))
    by_strength(axes, scaled["mean"], scaled.error, "delta_j", epsilon_colours(dataset))
    # Bands of the largest dj, of few pairs, would set the scale.
    low, high = np.nanpercentile(scaled["mean"].values, (0.1, 100))
    axes.set_ylim(low * 0.8, high * 1.6)
    log_scale(axes)
    _mark_peak(axes, dataset)
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(f"${symbol_mean(metric)} / {symbol_chi(metric)}$")


def unscaled_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response functions at l = 2L as measured (insets of Fig. 2b, 2e).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
    """
    curves = dataset.response.sel(metric=metric, position=response.last(dataset))
    as_measured(axes, dataset, curves, "delta_j")
    _mark_peak(axes, dataset)
    axes.set_xlabel(r"$\Delta j$")


def _mark_peak(axes: Axes, dataset: xr.Dataset) -> None:
    """A line where the peak is expected, if it is anywhere, and its name above."""
    if dataset.attrs["distance"] != "none":
        where = response.peak_distance(dataset)
        axes.axvline(where, color=GREY, linestyle="--", linewidth=0.9, zorder=0)
        axes.text(
            where, 1.02, f"${distance_name(dataset, 0)}$", transform=axes.get_xaxis_transform(),
            color=GREY, ha="center", va="bottom", fontsize=8,
        )  # fmt: skip


def ratio_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """C(epsilon, dj) / C(epsilon0, dj) at l = 2L for every dj (Fig. 2c, 2f, 5a-c); dashed: theory.

    A point for each dj; the larger marker is their mean, the scaling function chi.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    points = response.ratios(dataset, metric, epsilon0)
    chi = response.scaling_function(dataset, metric, epsilon0)
    theory = response.theory(metric, dataset.epsilon, epsilon0)
    axes.plot(
        dataset.epsilon.values, theory.values, color=GREY, linestyle="--", zorder=1, label="theory"
    )
    for delta_j in dataset.delta_j.values:
        axes.plot(
            dataset.epsilon, points.sel(delta_j=delta_j), linestyle="none", marker=".",
            markersize=2, alpha=0.35, color=CATEGORIES[5], zorder=2, rasterized=True,
            label=f"_delta_j = {delta_j}",
        )  # fmt: skip
    axes.errorbar(
        dataset.epsilon.values, chi["mean"].values, yerr=chi["spread"].values,
        fmt="o", markersize=3.5, capsize=1.5,
        color=CATEGORIES[0], elinewidth=0.8, zorder=3, label=r"mean and spread over $\Delta j$",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    if "linear" in dataset:
        axes.plot(
            dataset.epsilon, response.limit_of_ratios(dataset, metric, epsilon0), color=ACCENT,
            linewidth=0.9, zorder=2.5, label="linear limit",
        )  # fmt: skip
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(rf"${symbol_mean(metric)}(\varepsilon) / {symbol_mean(metric)}(\varepsilon_0)$")
    power = {1: "", 2: "^2"}[response.POWER[metric]]
    inside = r"\varepsilon/\varepsilon_0" if not power else r"(\varepsilon/\varepsilon_0)"
    axes.text(
        0.96, 0.2, rf"-- ${inside}{power}$", transform=axes.transAxes, ha="right", color="0.3"
    )


def deviation_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """By how much the ratios of `ratio_panel` miss their theory, in per cent (insets of Fig. 5a-c).

    Mean over dj and, as bars, standard deviation over dj; a line where the linear limit puts it.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    deviation = response.relative_deviation(dataset, metric, epsilon0)
    axes.axhline(0, color=GREY, linestyle="--", zorder=1)
    axes.errorbar(
        dataset.epsilon.values, deviation["mean"].values, yerr=deviation["spread"].values,
        fmt="o", markersize=3.5, capsize=1.5, color=CATEGORIES[0], elinewidth=0.8, zorder=3,
    )  # fmt: skip
    if "linear" in dataset:
        weak = response.weak_deviation(dataset, metric, epsilon0)
        axes.axhline(weak, color=ACCENT, linewidth=0.9, zorder=2.5)
    axes.set_xscale("log")
    axes.locator_params(axis="y", nbins=5)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -0.1), max(high, 0.1))  # rounding errors are no structure
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel("ratio / theory $-$ 1")


def ratio_handles(axes: Axes) -> list[Artist]:
    """What the legend of `ratio_panel` and `deviation_panel` names, from the former's Axes."""
    point = Line2D([], [], linestyle="none", marker=".", color=CATEGORIES[5])
    point.set_label(r"each $\Delta j$")
    return [*axes.get_legend_handles_labels()[0], point]
