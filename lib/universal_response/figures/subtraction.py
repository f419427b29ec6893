"""What subtraction costs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from universal_response.figures.style import (
    CATEGORIES,
    GREY,
    TWO_DECADES,
    style,
    tag_all,
)
from universal_response.subtraction import typical_error


def subtraction(errors: Mapping[str, xr.Dataset]) -> Figure:
    """What subtraction costs: its error against strength and number type, one column a model.

    Args:
        errors: of `subtraction.measure_subtraction`, by the title of their model.
    """
    with style():
        figure, axes = plt.subplots(
            2, len(errors), figsize=(1.2 + 3.7 * len(errors), 5.6), layout="constrained",
            squeeze=False, sharex=True, sharey="row", height_ratios=(1, 1.5),
        )  # fmt: skip
        for (name, dataset), (top, bottom) in zip(errors.items(), axes.T, strict=True):
            drawn = error_map_panel(top, dataset)
            error_panel(bottom, dataset)
            top.set_title(name)
        axes[1, 0].set_ylabel(r"error relative to the carried $C_{\Delta}$")
        axes[1, 0].legend(loc="lower left")
        bar = figure.colorbar(drawn, ax=axes[0], extend="both")
        bar.set_label("median error")
        tag_all(axes)
    return figure


def error_map_panel(axes: Axes, dataset: xr.Dataset) -> QuadMesh:
    """Median relative error of the plain way, a row a number type.

    Args:
        axes: to draw on, with a logarithmic strength below.
        dataset: of `subtraction.measure_subtraction`.

    Returns:
        The cells, for a colour bar.
    """
    error = typical_error(dataset).transpose("number_type", "epsilon")
    edge = _log_edges(dataset.epsilon.values)
    drawn = axes.pcolormesh(
        edge, np.arange(len(error) + 1), error.clip(1e-7),
        norm=LogNorm(1e-6, 1), cmap="cividis", edgecolors="white", linewidth=0.4,
    )  # fmt: skip
    axes.set_yticks(np.arange(len(error)) + 0.5, error.number_type.values)
    axes.set_xscale("log")
    axes.tick_params(axis="y", length=0)
    return drawn


def error_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Median relative error of the plain way against strength, and the band of 80 % of the pairs.

    Args:
        axes: to draw on.
        dataset: of `subtraction.measure_subtraction`.
    """
    low, middle, high = (typical_error(dataset, quantile) for quantile in (0.1, 0.5, 0.9))
    marks = zip(dataset.number_type.values, CATEGORIES, "os^D", strict=False)
    for number_type, colour, mark in marks:
        at = {"number_type": number_type}
        axes.fill_between(
            dataset.epsilon, low.sel(at), high.sel(at), color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(
            dataset.epsilon, middle.sel(at), color=colour, marker=mark, markersize=3.5,
            label=str(number_type),
        )  # fmt: skip
    axes.axvspan(*TWO_DECADES, color="0.93", zorder=0)
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel=r"perturbation strength $\varepsilon$")
    axes.set_ylim(1e-7, 1e3)


def _log_edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around numbers on a logarithmic axis."""
    middle = np.sqrt(centres[:-1] * centres[1:])
    return np.concatenate([[centres[0] ** 2 / middle[0]], middle, [centres[-1] ** 2 / middle[-1]]])
