"""How few pairs and sequences carry an average, and what follows for its errors."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response import response
from universal_response.figures.panels import log_scale
from universal_response.figures.style import (
    ACCENT,
    CATEGORIES,
    GREY,
    style,
    symbol,
    symbol_mean,
    tag_all,
)

DASHES = {"delta": "--", "phi": "-"}


def tails(datasets: Mapping[str, xr.Dataset], covered: pd.DataFrame) -> Figure:
    """Shares of pairs and of sequences, both means of the angle metric, and coverage.

    Args:
        datasets: results with linear limit, by title.
        covered: how often intervals hold the true mean: a column for each kind of interval, rows by
            the standard deviation of the logarithm over sequences.
    """
    with style():
        figure, grid = plt.subplots(2, 2, figsize=(7.4, 6.0), layout="constrained")
        pairs_panel(grid[0, 0], datasets)
        sequences_panel(grid[0, 1], datasets)
        both_means_panel(grid[1, 0], datasets)
        coverage_panel(grid[1, 1], covered)
        tag_all(grid)
    return figure


def pairs_panel(axes: Axes, datasets: Mapping[str, xr.Dataset]) -> None:
    """The part of the sum at the expected peak that the largest pairs hold, in the limit."""
    for (title, dataset), colour in zip(datasets.items(), CATEGORIES, strict=False):
        for metric, dashes in DASHES.items():
            peak = {"metric": metric, "pair_distance": response.peak_distance(dataset)}
            share = response.cumulative_share(dataset.pairs.sel(peak))
            label = f"_{title}, {metric}"
            axes.plot(100 * share.part, share, dashes, color=colour, label=label)
    for metric, dashes in DASHES.items():
        axes.plot([], [], dashes, color=GREY, label=f"${symbol(metric)}$")
    axes.set(xlabel="largest pairs (%)", ylabel="part of the sum at $T_0-1$", xlim=(0, 50))
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right")


def sequences_panel(axes: Axes, datasets: Mapping[str, xr.Dataset]) -> None:
    """The part that the largest sequences hold of the mean over all dj, in the limit."""
    for (title, dataset), colour in zip(datasets.items(), CATEGORIES, strict=False):
        for metric, dashes in DASHES.items():
            of_sequences = response.limit_by_sequence(dataset, metric).mean("delta_j")
            share = response.cumulative_share(of_sequences)
            n = range(share.sizes["part"])
            label = f"_{title}, {metric}"
            axes.plot(n, share, dashes, color=colour, marker=".", markersize=3, label=label)
        axes.plot([], [], color=colour, label=title)
    axes.plot(n, share.part, color=GREY, linewidth=0.8, linestyle=":", label="all alike")
    axes.set(xlabel="largest sequences", ylabel=r"part of the mean over $\Delta j$")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower right")


def both_means_panel(axes: Axes, datasets: Mapping[str, xr.Dataset]) -> None:
    """The limit of the angle metric at l = 2L against dj, in arithmetic and geometric means."""
    for (title, dataset), colour in zip(datasets.items(), CATEGORIES, strict=False):
        at = {"metric": "phi", "position": response.last(dataset)}
        for name, dashes in (("linear", "-"), ("linear_geometric", ":")):
            curve = dataset[name].sel(at)
            axes.plot(curve.delta_j, curve, dashes, color=colour, label=f"_{title}, {name}")
    axes.plot([], [], "-", color=GREY, label="arithmetic")
    axes.plot([], [], ":", color=GREY, label="geometric")
    log_scale(axes)
    low, high = axes.get_ylim()
    axes.set(xlabel=r"$\Delta j$", ylim=(low, high * (high / low) ** 0.12))  # room for the legend
    axes.set_ylabel(rf"${symbol_mean('phi')}/\varepsilon^2$, limit, $\ell=2L$")
    axes.legend(loc="upper left", ncol=2)


def coverage_panel(axes: Axes, covered: pd.DataFrame) -> None:
    """How often intervals of 95 % hold the true mean, by how long the tail is."""
    for name, colour, marker in zip(covered, (GREY, ACCENT, CATEGORIES[0]), "so^", strict=True):
        axes.plot(covered.index, 100 * covered[name], marker + "-", color=colour, label=name)
    axes.axhline(95, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlabel="standard deviation of the logarithm", ylabel="intervals that hold it (%)")
    axes.set_ylim(70, 100)
    axes.legend(loc="lower left")
