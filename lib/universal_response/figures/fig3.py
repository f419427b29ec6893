"""Fig. 3: the response along the layers, and what each sublayer adds."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from universal_response import response
from universal_response.figures.panels import (
    as_measured,
    by_strength,
    epsilon_colorbar,
    leak_in_legend,
    position_axis,
    stack,
)
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
    tag,
)


def fig3(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi", THETA)) -> Figure:
    """Fig. 3 (a-f): the response at dj = T0 - 1 along the residual stream, and its increments.

    Below (a, b): the same curves as measured. Below (d-f): sums of the increments.
    """
    with style():
        figure = plt.figure(figsize=(7.4, 7.6), layout="constrained")
        cells = figure.add_gridspec(4, 3, height_ratios=(1.3, 0.9, 1.5, 0.4))
        for column, metric in enumerate(metrics):
            unscaled = not is_cosine(metric)
            layers = figure.add_subplot(cells[0 if unscaled else slice(2), column])
            layers_panel(layers, dataset, metric)
            if unscaled:
                below = figure.add_subplot(cells[1, column])
                unscaled_layers_panel(below, dataset, metric)
                stack(layers, below, "abc"[column])
            else:
                tag(layers, "abc"[column])
            increments, totals = (figure.add_subplot(cells[row, column]) for row in (2, 3))
            increments_panel(increments, dataset, metric)
            totals_panel(totals, dataset, metric)
            tag(increments, "def"[column])
            tag(totals, f"{'def'[column]}'")
        epsilon_colorbar(figure, dataset)
        figure.legend(handles=_handles(dataset), loc="outside lower center", ncols=4)
    return figure


def layers_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response at dj = T0 - 1 along l (Fig. 3a-c), delta and phi divided by chi.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
    """
    curves = response.collapsed(dataset, metric, float(dataset.attrs["epsilon0"]))
    curves = curves.sel(delta_j=response.peak_distance(dataset))
    curves = curves.isel(position=response.second_attention_on(dataset.response).values)
    by_strength(axes, curves["mean"], curves.error, "position", epsilon_colours(dataset))
    position_axis(axes, dataset)
    quantity = symbol_mean(metric)
    if not is_cosine(metric):
        quantity += f" / {symbol_chi(metric)}"
    axes.set_ylabel(rf"${quantity}$ at $\Delta j={distance_name(dataset, 0)}$")


def unscaled_layers_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response at dj = T0 - 1 along l as measured (insets of Fig. 3a, 3b).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
    """
    curves = dataset.response.sel(metric=metric, delta_j=response.peak_distance(dataset))
    curves = curves.isel(position=response.second_attention_on(dataset.response).values)
    as_measured(axes, dataset, curves, "position")
    position_axis(axes, dataset)


def increments_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Increments at dj = T0 - 1 by sublayer (Fig. 3d-f).

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
    position_axis(axes, dataset)
    axes.set_ylabel(
        rf"$\Delta {symbol(metric)}^{{(\ell)}}$" + ("" if is_cosine(metric) else " (sum 1)")
    )


def totals_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Sums of the increments over attention and over MLP sublayers (insets of Fig. 3d-f).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
    """
    found = response.increments_at_peak(dataset, metric, float(dataset.attrs["epsilon0"]))
    totals = response.sublayer_totals(found.steps)
    colours, names = zip(*(SUBLAYERS[str(name)] for name in totals.sublayer.values), strict=True)
    axes.barh(range(len(names)), totals.values, color=colours)
    words = [f"{name} {total:.2f}" for name, total in zip(names, totals.values, strict=True)]
    axes.set_yticks(range(len(names)), [each.replace("-", "\N{MINUS SIGN}") for each in words])
    axes.axvline(0, color="0.3", linewidth=0.6)
    axes.invert_yaxis()
    axes.set_xlabel(rf"$\Sigma_\ell\, \Delta {symbol(metric)}^{{(\ell)}}$")
    axes.set_ylabel("sum")


def _handles(dataset: xr.Dataset) -> list[Artist]:
    """Of the legend: colours of the sublayers there are, error lines, grey ground."""
    present = dict.fromkeys(map(str, dataset.sublayer.values[1:]))
    bars = [Patch(color=SUBLAYERS[name][0], label=SUBLAYERS[name][1]) for name in present]
    return [*bars, Line2D([], [], color="0.3", linewidth=0.5, label="standard error"),
            leak_in_legend()]  # fmt: skip
