"""Fig. 4: the emergence of induction."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from universal_response import response
from universal_response.figures.panels import band, log_scale
from universal_response.figures.style import (
    CATEGORIES,
    EMPTY,
    GREY,
    THETA,
    colormap,
    distance_name,
    is_cosine,
    style,
    symbol_mean,
    tag_all,
)


def fig4(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi", THETA)) -> Figure:
    """Fig. 4 (a-f): the response against dj and position l, and along l for single dj."""
    epsilon0 = float(dataset.attrs["epsilon0"])
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(8.8, 5.9), layout="constrained")
        for column, metric in enumerate(metrics):
            onset = response.induction_onset(dataset, epsilon0, metric)
            image = layer_map_panel(grid[0, column], dataset, metric, epsilon0)
            label = f"${symbol_mean(metric)}$" + ("" if is_cosine(metric) else " / row maximum")
            extend = "both" if is_cosine(metric) else "neither"
            figure.colorbar(image, ax=grid[0, column], shrink=0.85, label=label, extend=extend)
            distances_panel(grid[1, column], dataset, metric, epsilon0)
            if onset.position is not None:
                grid[0, column].axhline(
                    onset.position - 0.5, color="white", linewidth=1, linestyle=":"
                )
                grid[1, column].axvline(onset.position, color=GREY, linewidth=1, linestyle=":")
        grid[1, 0].legend(
            loc="lower right", title=r"$\Delta j$", frameon=True, edgecolor="none", framealpha=1
        )
        tag_all(grid)
    return figure


def layer_map_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon: float) -> AxesImage:
    """Response against dj and l within T0 - 5 .. T0 + 5 (Fig. 4a-c, 5d-f).

    delta and phi: every row (fixed l) is divided by its maximum within the window. Grey: nothing
    responds.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
        epsilon: strength, one of those measured.

    Returns:
        The image, for a colour bar.
    """
    t0 = response.peak_distance(dataset) + 1
    image = response.in_window(dataset, metric, epsilon)
    image = image.transpose("position", "delta_j")
    if is_cosine(metric):
        # The cosines of the first sublayers, where hardly anything responds, would set the scale.
        reach = float(np.nanquantile(np.abs(image), 0.97))
        norm = Normalize(-reach, reach)
    else:
        norm = Normalize(0, 1)
    edge = image.delta_j.values
    drawn = axes.imshow(
        image, norm=norm, cmap=colormap(metric).with_extremes(bad=EMPTY),
        aspect="auto", origin="lower",
        extent=(edge[0] - 0.5, edge[-1] + 0.5, -0.5, len(image) - 0.5),
    )  # fmt: skip
    axes.set_xticks([t0 - 5, t0 - 1, t0 + 5] if t0 > 5 else [t0 - 1, t0])
    axes.axvline(t0 - 1, color="white", linestyle="--", linewidth=0.7, alpha=0.7)
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(r"position $\ell$")
    return drawn


def distances_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon: float) -> None:
    """Response along l at dj = T0 - 2 .. T0 + 1 (Fig. 4d-f).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
        epsilon: strength, one of those measured.
    """
    t0 = response.peak_distance(dataset) + 1
    for offset, colour in zip((-1, 0, -2, 1), CATEGORIES, strict=False):
        at = {"metric": metric, "delta_j": t0 + offset}
        curve = response.at_epsilon(dataset.response.sel(at), epsilon)
        error = response.at_epsilon(dataset.response_sem.sel(at), epsilon)
        label = f"${distance_name(dataset, offset + 1)}$"
        first = 0 if is_cosine(metric) else 1
        band(axes, curve[first:], error[first:], "position", colour, label)
    if not is_cosine(metric):
        log_scale(axes)
    axes.set_xlabel(r"position $\ell$")
    axes.set_ylabel(f"${symbol_mean(metric)}$")
