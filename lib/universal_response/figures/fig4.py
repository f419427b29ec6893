"""Fig. 4: the emergence of induction."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from universal_response import response
from universal_response.figures.panels import band, leak_in_legend, log_scale, position_axis
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

# Distances from T0 - 1, the induction peak, with the colours of their curves and marks.
COLOURS = dict(zip((0, 1, -1, 2), CATEGORIES, strict=False))


def fig4(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi", THETA)) -> Figure:
    """Fig. 4 (a-f): the response against dj and position l, and along l for single dj."""
    epsilon0 = float(dataset.attrs["epsilon0"])
    with style():
        figure, grid = plt.subplots(
            2, 3, figsize=(7.4, 6.4), layout="constrained", height_ratios=(1.3, 1)
        )
        for column, metric in enumerate(metrics):
            upper, lower = grid[:, column]
            image = layer_map_panel(upper, dataset, metric, epsilon0)
            label = f"${symbol_mean(metric)}$" + ("" if is_cosine(metric) else " / row maximum")
            extend = "both" if is_cosine(metric) else "neither"
            figure.colorbar(
                image, ax=upper, location="bottom", shrink=0.9, label=label, extend=extend
            )
            distances_panel(lower, dataset, metric, epsilon0)
            onset = response.induction_onset(dataset, epsilon0, metric).position
            if onset is not None:
                upper.plot(
                    1, onset, "<", transform=upper.get_yaxis_transform(), clip_on=False,
                    color="black", markersize=6,
                )  # fmt: skip
                lower.axvline(onset, color=GREY, linewidth=1, linestyle=":")
        onset_mark = Line2D([], [], color="black", marker="<", linestyle=":", label="onset")
        handles = [*distance_handles(dataset), onset_mark, leak_in_legend()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        tag_all(grid)
    return figure


def layer_map_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon: float) -> AxesImage:
    """Response against dj and l within T0 - 5 .. T0 + 5 (Fig. 4a-c, 5d-f).

    delta and phi: every row (fixed l) is divided by its maximum within the window. Grey: nothing
    responds, or only a leak before the second attention sublayer. Triangles: T0 - 1 and T0.

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
    norm = Normalize(0, 1)
    if is_cosine(metric):
        known = np.abs(image.values[np.isfinite(image.values)])
        # The cosines of the first positions, where little responds, would set the scale.
        reach = float(np.quantile(known, 0.97)) if known.any() else 1.0
        norm = Normalize(-reach, reach)
    edge = image.delta_j.values
    drawn = axes.imshow(
        image, norm=norm, cmap=colormap(metric).with_extremes(bad=EMPTY),
        aspect="auto", origin="lower",
        extent=(edge[0] - 0.5, edge[-1] + 0.5, -0.5, len(image) - 0.5),
    )  # fmt: skip
    axes.set_xticks([t0 - 5, t0 - 1, t0 + 5] if t0 > 5 else [t0 - 1, t0])
    for offset in (0, 1):
        axes.plot(
            t0 - 1 + offset, 1.02, "v", transform=axes.get_xaxis_transform(), clip_on=False,
            color=COLOURS[offset], markersize=5,
        )  # fmt: skip
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(r"position $\ell$")
    return drawn


def distances_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon: float) -> None:
    """Response along l at dj = T0 - 2 .. T0 + 1, from the second attention sublayer (Fig. 4d-f).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
        epsilon: strength, one of those measured.
    """
    shown = response.second_attention_on(dataset.response).values
    for offset, colour in COLOURS.items():
        at = {"metric": metric, "delta_j": response.peak_distance(dataset) + offset}
        curve = response.at_epsilon(dataset.response.sel(at), epsilon)[shown]
        error = response.at_epsilon(dataset.response_sem.sel(at), epsilon)[shown]
        band(axes, curve, error, "position", colour, f"${distance_name(dataset, offset)}$")
    if not is_cosine(metric):
        log_scale(axes)
    position_axis(axes, dataset)
    axes.set_ylabel(f"${symbol_mean(metric)}$")


def triangle_handles(dataset: xr.Dataset) -> list[Line2D]:
    """Of the legend where there are maps alone: T0 - 1 and T0."""
    return [
        Line2D(
            [], [], color=COLOURS[offset], marker="v", markersize=5, linestyle="none",
            label=rf"$\Delta j={distance_name(dataset, offset)}$",
        )
        for offset in (0, 1)
    ]  # fmt: skip


def distance_handles(dataset: xr.Dataset) -> list[Line2D]:
    """Of the legend: curves of `distances_panel`; T0 - 1 and T0 have triangles above a map."""
    return [
        Line2D(
            [], [], color=colour, marker="v" if offset in (0, 1) else "", markersize=5,
            label=rf"$\Delta j={distance_name(dataset, offset)}$",
        )
        for offset, colour in COLOURS.items()
    ]  # fmt: skip
