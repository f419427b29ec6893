"""What panels are made of: each takes an Axes and arrays, and computes nothing."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from universal_response.figures.style import epsilon_norm


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
    errors: xr.DataArray | None,
    dim: str,
    colours: Sequence[tuple[float, object]],
) -> None:
    """A curve for every strength, with its error as a band, or thin and without.

    Args:
        axes: to draw on.
        curves: (epsilon, dim).
        errors: the same of the standard errors.
        dim: along the x axis.
        colours: of `style.epsilon_colours`.
    """
    for epsilon, colour in colours:
        curve = curves.sel(epsilon=epsilon)
        if errors is None:
            axes.plot(curve[dim], curve, color=colour, linewidth=0.6, label=unlisted(epsilon))
        else:
            band(axes, curve, errors.sel(epsilon=epsilon), dim, colour, unlisted(epsilon))


def inset_look(inset: Axes, title: str = "") -> None:
    """Small ticks and, if there is one, a small title."""
    inset.tick_params(labelsize=6, length=2, pad=1)
    if title:
        inset.set_title(title, fontsize=8, pad=2)


def log_scale(axes: Axes) -> None:
    """Logarithmic y axis, labelled at full decades only where there are at least two of them."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if np.floor(np.log10(high)) - np.ceil(np.log10(low)) >= 1:
        axes.yaxis.set_minor_formatter(NullFormatter())


def few_ticks(axis: Axis) -> None:
    """Plain numbers at 1, 2, 5, 10, ... of a logarithmic axis that spans a decade or two."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda x, place: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def epsilon_colorbar(figure: Figure, axes: np.ndarray, dataset: xr.Dataset) -> None:
    norm, colormap = epsilon_norm(dataset), mpl.colormaps["viridis"]
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, colormap), ax=axes, location="bottom", shrink=0.45, aspect=35,
        label=r"$\varepsilon$ (white lines: measured)",
    )  # fmt: skip
    bar.ax.vlines(dataset.epsilon.values, 0, 1, color="white", linewidth=0.8)


def unlisted(epsilon: float) -> str:
    """Label of a curve that the legend leaves out."""
    return f"_epsilon = {epsilon:g}"


def ends(dataset: xr.Dataset) -> tuple[float, float]:
    return float(dataset.epsilon.min()), float(dataset.epsilon.max())
