"""Fig. 3: the response along the layers, and what each sublayer adds."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from universal_response import response
from universal_response.figures.panels import by_strength, epsilon_colorbar, inset_look, log_scale
from universal_response.figures.style import (
    SUBLAYERS,
    THETA,
    distance_name,
    epsilon_colours,
    is_cosine,
    style,
    symbol,
    symbol_chi,
    symbol_mean,
    tag_all,
)


def fig3(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi", THETA)) -> Figure:
    """Fig. 3 (a-f): the response at dj = T0 - 1 along the residual stream, and its increments."""
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(8.8, 5.4), layout="constrained")
        for column, metric in enumerate(metrics):
            layers_panel(grid[0, column], dataset, metric)
            increments_panel(grid[1, column], dataset, metric)
        tag_all(grid)
        epsilon_colorbar(figure, grid, dataset)
        handles = [Rectangle((0, 0), 1, 1, color=colour) for colour, _ in _present(dataset)]
        grid[1, 0].legend(handles, [label for _, label in _present(dataset)], loc="upper left")
    return figure


def layers_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response at dj = T0 - 1 along l (Fig. 3a-c), delta and phi divided by chi; inset: not.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
    """
    epsilon0, peak = float(dataset.attrs["epsilon0"]), {"delta_j": response.peak_distance(dataset)}
    scaled, colours = not is_cosine(metric), epsilon_colours(dataset)
    curves = response.collapsed(dataset, metric, epsilon0).sel(peak)
    by_strength(axes, curves["mean"], curves.error, "position", colours)
    if scaled:
        inset = axes.inset_axes((0.14, 0.6, 0.38, 0.36))
        # At l = 0 nothing responds there.
        measured = dataset.response.sel(peak | {"metric": metric}).isel(position=slice(1, None))
        by_strength(inset, measured, None, "position", colours)
        log_scale(inset)
        inset_look(inset, f"${symbol_mean(metric)}$")
        axes.set_ylim(top=axes.get_ylim()[1] * 1.75)
    axes.set_xlabel(r"position $\ell$")
    quantity = f"{symbol_mean(metric)} / {symbol_chi(metric)}" if scaled else symbol_mean(metric)
    axes.set_ylabel(rf"${quantity}$ at $\Delta j={distance_name(dataset, 0)}$")


def increments_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Increments at dj = T0 - 1 by sublayer (Fig. 3d-f); inset: their sums over sublayers.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
    """
    found = response.increments_at_peak(dataset, metric, float(dataset.attrs["epsilon0"]))
    steps = found.steps
    colours = [SUBLAYERS[str(sublayer)][0] for sublayer in steps.sublayer.values]
    axes.bar(steps.position, steps, color=colours, width=0.9)
    axes.errorbar(steps.position, steps, yerr=found.error, fmt="none", ecolor="0.3", elinewidth=0.5)
    axes.axhline(0, color="0.3", linewidth=0.6)
    totals = response.sublayer_totals(steps)
    inset = axes.inset_axes((0.42, 0.66, 0.26, 0.32))
    looks = [SUBLAYERS[str(name)] for name in totals.sublayer.values]
    inset.bar(range(len(looks)), totals.values, color=[colour for colour, _ in looks])
    inset.set_xticks(range(len(looks)), [label for _, label in looks])
    inset.axhline(0, color="0.3", linewidth=0.6)
    inset_look(inset, r"$\Sigma$")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.55 * (high - low))
    axes.set_xlabel(r"position $\ell$")
    axes.set_ylabel(
        rf"$\Delta {symbol(metric)}^{{(\ell)}}$" + ("" if is_cosine(metric) else " (sum 1)")
    )


def _present(dataset: xr.Dataset) -> list[tuple[str, str]]:
    names = dict.fromkeys(map(str, dataset.sublayer.values[1:]))
    return [SUBLAYERS[name] for name in names]
