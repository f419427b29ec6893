"""Fig. 5: scaling and emergence in several models."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from universal_response import models, response
from universal_response.figures.fig2 import ratio_panel
from universal_response.figures.fig4 import layer_map_panel
from universal_response.figures.panels import inset_look
from universal_response.figures.style import (
    ACCENT,
    CATEGORIES,
    GREY,
    style,
    symbol_mean,
    tag_all,
)


def fig5(datasets: Mapping[str, xr.Dataset | None], epsilon0: float = 0.03) -> Figure:
    """Fig. 5 (a-f): scaling and emergence of induction, a column for each model.

    Args:
        datasets: results by model name or file, in the order of the columns; None where a model
            has not been measured: its column says so instead of showing a panel.
        epsilon0: reference strength of the ratios.
    """
    n = len(datasets)
    with style():
        figure, grid = plt.subplots(
            2, n, figsize=(max(3.2 * n, 4.2), 5.5), layout="constrained", squeeze=False
        )
        for column, (name, dataset) in enumerate(datasets.items()):
            top, bottom = grid[:, column]
            if dataset is None:
                _slot(top, bottom, name)
                continue
            layers = response.architecture_of(dataset)["layers"]
            # Beside the letter of the panel.
            named = f"{models.title(dataset.attrs['model'])} ($L={layers}$)"
            top.set_title(named, loc="right", fontsize=8)
            ratio_panel(top, dataset, "delta", epsilon0)
            low, high = top.get_ylim()
            top.set_ylim(low, low * (high / low) ** 1.45)  # room for the inset
            top.axvline(epsilon0, ymax=0.64, color=GREY, linewidth=0.8)  # up to the inset
            deviation_inset(top, dataset, "delta", epsilon0)
            image = layer_map_panel(bottom, dataset, "delta", float(dataset.attrs["epsilon0"]))
            figure.colorbar(
                image, ax=bottom, shrink=0.85, label=f"${symbol_mean('delta')}$ / row maximum"
            )
        tag_all(grid)
    return figure


def deviation_inset(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """Relative deviation from the scaling function, averaged over dj (insets of Fig. 5a-c).

    Args:
        axes: of the panel that gets the inset.
        dataset: results of one model.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    deviation = response.relative_deviation(dataset, metric, epsilon0)
    inset = axes.inset_axes((0.25, 0.66, 0.42, 0.32))
    inset.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
    inset.errorbar(
        dataset.epsilon.values, deviation["mean"].values, yerr=deviation["spread"].values,
        fmt="o-", markersize=2,
        linewidth=0.8, elinewidth=0.6, color=ACCENT,
    )  # fmt: skip
    inset.axvline(epsilon0, color=GREY, linewidth=0.6)
    if "linear" in dataset:
        weak = response.weak_deviation(dataset, metric, epsilon0)
        inset.axhline(weak, color=CATEGORIES[0], linewidth=0.8)
    inset.set_xscale("log")
    inset.xaxis.set_major_locator(FixedLocator([1e-3, 1e-1]))  # more would touch
    inset.set_ylim(-0.75, 0.75)
    inset.set_ylabel(r"$\delta$", fontsize=8, labelpad=0)
    inset_look(inset)


def _slot(top: Axes, bottom: Axes, name: str) -> None:
    """Say that a model has not been measured, and how to measure it."""
    for axes in (top, bottom):
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_linestyle((0, (4, 4)))
            spine.set_color(GREY)
    top.set_title(models.title(name))
    top.text(
        0.5, 0.5, f"slot for\n{models.title(name)}\n\nnot measured yet", transform=top.transAxes,
        ha="center", va="center", color=GREY,
    )  # fmt: skip
    bottom.text(
        0.5, 0.5, f"to measure it:\n\nmake figures\nMODEL={name}", transform=bottom.transAxes,
        ha="center", va="center", color=GREY, family="monospace", fontsize=8,
    )  # fmt: skip
