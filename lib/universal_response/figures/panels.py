"""What panels are made of: each takes an Axes and arrays, and computes nothing."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from universal_response import response
from universal_response.figures.style import EMPTY, epsilon_colours, epsilon_norm, symbol_mean, tag


def band(
    axes: Axes, curve: xr.DataArray, error: xr.DataArray, dim: str, colour: object, label: str = ""
) -> None:
    """A curve with its standard error as a band."""
    x = curve[dim].values
    axes.plot(x, curve.values, color=colour, label=label, linewidth=1)
    low, high = (curve - error).values, (curve + error).values
    axes.fill_between(
        x,
        low,
        high,
        color=colour,
        alpha=0.25,
        linewidth=0,
    )


def by_strength(
    axes: Axes,
    curves: xr.DataArray,
    errors: xr.DataArray,
    dim: str,
    colours: Sequence[tuple[float, object]],
) -> None:
    """A curve for every strength, with its error as a band.

    Args:
        axes: to draw on.
        curves: (epsilon, dim).
        errors: the same of the standard errors.
        dim: along the x axis.
        colours: of `style.epsilon_colours`.
    """
    for epsilon, colour in colours:
        curve, error = curves.sel(epsilon=epsilon), errors.sel(epsilon=epsilon)
        band(axes, curve, error, dim, colour, unlisted(epsilon))


def as_measured(axes: Axes, dataset: xr.Dataset, curves: xr.DataArray, dim: str) -> None:
    """A growing metric as measured: a thin curve for every strength, on a logarithmic axis.

    Args:
        axes: to draw on.
        dataset: results of one model.
        curves: of its `response`, (epsilon, dim) of one metric.
        dim: along the x axis.
    """
    for epsilon, colour in epsilon_colours(dataset):
        curve = curves.sel(epsilon=epsilon)
        axes.plot(curve[dim], curve, color=colour, linewidth=0.6, label=unlisted(epsilon))
    log_scale(axes)
    axes.set_ylabel(f"${symbol_mean(str(curves.metric.values))}$")


def stack(upper: Axes, lower: Axes, letter: str) -> None:
    """A panel and, below it, the one that goes with it: one x axis, letters (x) and (x')."""
    lower.sharex(upper)
    upper.tick_params(labelbottom=False)
    upper.xaxis.label.set_visible(False)
    tag(upper, letter)
    tag(lower, f"{letter}'")


def position_axis(axes: Axes, dataset: xr.Dataset) -> None:
    """The position l along x, in whole numbers, grey where only a leak responds.

    That is before the second attention sublayer (`response.second_attention_on`).
    """
    before = int((~response.second_attention_on(dataset.response)).sum())
    axes.axvspan(-0.5, before - 0.5, color=EMPTY, linewidth=0, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(r"position $\ell$")


def leak_in_legend() -> Patch:
    return Patch(color=EMPTY, label="before the second attention: only a leak")


def log_scale(axes: Axes) -> None:
    """Logarithmic y axis, labelled as `log_ticks` does; as it is without a positive value."""
    if axes.dataLim.minposy < np.inf:
        axes.set_yscale("log")
        log_ticks(axes.yaxis)


def log_ticks(axis: Axis, subs: Sequence[int] = (1, 2, 5)) -> None:
    """Labels of a logarithmic axis: full decades if there are two of them, else `few_ticks`."""
    low, high = axis.get_view_interval()
    if np.floor(np.log10(high)) - np.ceil(np.log10(low)) >= 1:
        axis.set_minor_formatter(NullFormatter())
    else:
        few_ticks(axis, subs)


def few_ticks(axis: Axis, subs: Sequence[int] = (1, 2, 5)) -> None:
    """Plain numbers at 1, 2, 5, 10, ... of a logarithmic axis that spans a decade or two."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _plain(x: float, place: int | None) -> str:
    if x >= 1e-3:
        return f"{x:g}"
    mantissa, exponent = f"{x:.0e}".split("e")
    return rf"${mantissa}\times 10^{{{int(exponent)}}}$"


def epsilon_colorbar(figure: Figure, dataset: xr.Dataset) -> None:
    """Below all panels of a figure, with a line for every strength."""
    norm, colormap = epsilon_norm(dataset), mpl.colormaps["viridis"]
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, colormap),
        ax=[axes for axes in figure.axes if axes.get_subplotspec()],
        location="bottom", panchor=False, shrink=0.6, aspect=35,
        label=r"$\varepsilon$ (white lines: measured)",
    )  # fmt: skip
    bar.ax.vlines(dataset.epsilon.values, 0, 1, color="white", linewidth=0.8)


def unlisted(epsilon: float) -> str:
    """Label of a curve that the legend leaves out."""
    return f"_epsilon = {epsilon:g}"


def ends(dataset: xr.Dataset) -> tuple[float, float]:
    return float(dataset.epsilon.min()), float(dataset.epsilon.max())
