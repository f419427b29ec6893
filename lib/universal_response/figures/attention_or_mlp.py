"""What builds the response up, attention or MLPs, by what one takes for building up."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response import response
from universal_response.figures.panels import log_scale
from universal_response.figures.style import (
    CATEGORIES,
    GREY,
    SUBLAYERS,
    distance_name,
    style,
    tag_all,
)

WORDS = {"sum": "all increments", "rises": "positive ones alone", "gains": r"of $\log C_\Delta$"}
MARKERS = ("o", "s", "^")
DASHES = ("-", "--", ":")


def attention_or_mlp(
    datasets: Mapping[str, xr.Dataset], shares: Mapping[str, xr.Dataset]
) -> Figure:
    """The share of attention by definition and distance, lengths of states, and gains along l.

    Args:
        datasets: results by title.
        shares: of `response.attention_shares`, by the same titles.
    """
    with style():
        figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
        share_by_definition_panel(axes[0], datasets, shares)
        state_length_panel(axes[1], datasets)
        gains_panel(axes[2], datasets)
        tag_all(axes)
    return figure


def share_by_definition_panel(
    axes: Axes, datasets: Mapping[str, xr.Dataset], shares: Mapping[str, xr.Dataset]
) -> None:
    """A row a definition, a marker a distance, a colour a model; intervals of 95 %."""
    first = next(iter(datasets.values()))
    for place, ((title, found), colour) in enumerate(zip(shares.items(), CATEGORIES, strict=False)):
        rows = np.arange(found.sizes["of"]) + 0.24 * (place - (len(shares) - 1) / 2)
        for distance, marker in zip(found.delta_j.values, MARKERS, strict=False):
            one = found.sel(delta_j=distance)
            axes.hlines(rows, one.low, one.high, color=colour, linewidth=1)
            label = f"_{title}, {distance}"
            axes.plot(one.value, rows, marker, color=colour, markersize=4.5, label=label)
    peak = response.peak_distance(first)
    for distance, marker in zip(found.delta_j.values, MARKERS, strict=False):
        label = rf"$\Delta j={distance_name(first, distance - peak)}$"
        axes.plot([], [], marker, color=GREY, markersize=4.5, label=label)
    axes.set_yticks(range(found.sizes["of"]), [WORDS[of] for of in found.of.values])
    axes.set(xlabel="share of attention", xlim=(-0.35, 1.1), ylim=(found.sizes["of"] - 0.5, -0.9))
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.legend(loc="upper left", ncol=3, columnspacing=0.8, handletextpad=0.1)


def state_length_panel(axes: Axes, datasets: Mapping[str, xr.Dataset]) -> None:
    """Mean |x_j| against depth."""
    for (title, dataset), colour in zip(datasets.items(), CATEGORIES, strict=False):
        depth = dataset.position / response.last(dataset)
        axes.plot(depth, dataset.state_length, color=colour, label=title)
    log_scale(axes)
    axes.set(xlabel=r"depth $\ell/2L$", ylabel=r"mean length $|x_j|$")
    axes.legend(loc="lower right")


def gains_panel(axes: Axes, datasets: Mapping[str, xr.Dataset]) -> None:
    """What attention and MLP sublayers have added to log C_delta at T0 - 1 up to each l."""
    kinds: dict[str, None] = {}
    for (title, dataset), dashes in zip(datasets.items(), DASHES, strict=False):
        gains = response.gains_at_peak(dataset, float(dataset.attrs["epsilon0"]))
        depth = gains.position / response.last(dataset)
        kinds |= dict.fromkeys(gains.sublayer_kind.values)
        for kind in gains.sublayer_kind.values:
            one, colour = gains.sel(sublayer_kind=kind), SUBLAYERS[kind][0]
            axes.plot(depth, one, dashes, color=colour, label=f"_{title}, {kind}")
        axes.plot([], [], dashes, color=GREY, label=title)
    for kind in kinds:
        axes.plot([], [], color=SUBLAYERS[kind][0], label=SUBLAYERS[kind][1])
    axes.set(xlabel=r"depth $\ell/2L$", ylabel=r"added to $\log C_\Delta(T_0-1)$ so far")
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set_ylim(top=1.65 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper left", fontsize=7)
