"""Fig. 2: a scale-invariant response."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from universal_response import response
from universal_response.figures.panels import by_strength, epsilon_colorbar, inset_look, log_scale
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
    tag_all,
)


def fig2(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi")) -> Figure:
    """Fig. 2 (a-f): response matrices, collapse of the response functions, scaling function."""
    epsilon0 = float(dataset.attrs["epsilon0"])
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(8.8, 5.6), layout="constrained")
        for row, metric in enumerate(metrics):
            image = matrix_panel(grid[row, 0], dataset, metric)
            figure.colorbar(image, ax=grid[row, 0], shrink=0.85, label=f"${symbol(metric)}$")
            collapse_panel(grid[row, 1], dataset, metric)
            ratio_panel(grid[row, 2], dataset, metric, epsilon0)
        tag_all(grid)
        epsilon_colorbar(figure, grid, dataset)
    return figure


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
    """Response functions divided by chi(epsilon) (Fig. 2b, 2e); inset: as measured.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
    """
    epsilon0, t0 = float(dataset.attrs["epsilon0"]), int(dataset.attrs["t0"])
    last = {"position": response.last(dataset)}
    curves = dataset.response.sel(last | {"metric": metric})
    scaled = response.collapsed(dataset, metric, epsilon0).sel(last)
    inset = axes.inset_axes((0.15, 0.62, 0.42, 0.36))
    by_strength(axes, scaled["mean"], scaled.error, "delta_j", epsilon_colours(dataset))
    by_strength(inset, curves, None, "delta_j", epsilon_colours(dataset))
    for each, top in ((axes, 0.6), (inset, 1)):  # up to the inset
        each.axvline(t0 - 1, ymax=top, color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    # Room above the curves for the inset.
    low, high = np.nanpercentile(scaled["mean"].values, (0.5, 100))
    axes.set_ylim(low * 0.8, high * (high / low) ** 1.1)
    for each in (axes, inset):
        log_scale(each)
    inset_look(inset, f"${symbol_mean(metric)}$")
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(f"${symbol_mean(metric)} / {symbol_chi(metric)}$")


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
        color=CATEGORIES[0], elinewidth=0.8, zorder=3, label=r"mean over $\Delta j$",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    if "linear" in dataset:
        axes.plot(
            dataset.epsilon, response.limit_of_ratios(dataset, metric, epsilon0), color=ACCENT,
            linewidth=0.9, zorder=2.5, label=r"linear limit",
        )  # fmt: skip
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(rf"${symbol_mean(metric)}(\varepsilon) / {symbol_mean(metric)}(\varepsilon_0)$")
    power = {1: "", 2: "^2"}[response.POWER[metric]]
    inside = r"\varepsilon/\varepsilon_0" if not power else r"(\varepsilon/\varepsilon_0)"
    axes.text(
        0.96, 0.2, rf"-- ${inside}{power}$", transform=axes.transAxes, ha="right", color="0.3"
    )
