"""Fig. 4 over a training: where the response peaks while induction forms."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.style import CATEGORIES, EMPTY, GREY, shades, style, tag
from universal_response.training import film_summaries as summaries

HALF_WINDOW = 3  # in the first phase blocks are short


def film(frames: xr.Dataset) -> Figure:
    """Accuracy, response at two distances, and maps of the response of a few frames.

    Args:
        frames: a film of the training of a GPT-2.
    """
    shown = summaries.shown_frames(frames)
    formation = frames.isel(frame=(frames.frame_phase == 0).values)
    with style():
        figure = plt.figure(figsize=(9.8, 5.2), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.15))
        above, below = parts
        curves, share = above.subplots(1, 2)
        curves_panel(curves, formation)
        share_panel(share, formation)
        for axes, letter in ((curves, "a"), (share, "b")):
            mark_frames(axes, frames, shown)
            axes.set_xlabel("steps of the first phase")
            tag(axes, letter)
        maps = below.subplots(1, len(shown), sharey=True)
        for place, (axes, frame) in enumerate(zip(maps, shown, strict=True)):
            drawn = frame_panel(axes, frames.isel(frame=frame))
            axes.set_title(f"{place + 1}: step {int(frames.step[frame])}", fontsize=8)
        maps[0].set_ylabel(r"position $\ell$")
        below.colorbar(drawn, ax=maps, label=r"$\overline{C}_\Delta$ / row maximum")
    return figure


def mark_frames(axes: Axes, dataset: xr.Dataset, shown: list[int]) -> None:
    """Dotted lines, with numbers, where frames of the first phase are shown."""
    for place, frame in enumerate(shown):
        if dataset.frame_phase[frame] == 0:
            step = int(dataset.step[frame])
            axes.axvline(step, color=GREY, linewidth=0.5, linestyle=":")
            axes.text(
                step, 0.99, f" {place + 1}", transform=axes.get_xaxis_transform(), va="top",
                color=GREY, fontsize=7,
            )  # fmt: skip


def curves_panel(axes: Axes, formation: xr.Dataset) -> None:
    """Accuracy on the second block, and C_delta at two distances at the end of the model."""
    axes.plot(formation.step, formation.accuracy, color=CATEGORIES[0], label="accuracy")
    for offset, colour, name in ((0, CATEGORIES[2], "T_0"), (-1, CATEGORIES[1], "T_0-1")):
        response = summaries.at_distance(formation, offset)
        axes.plot(
            formation.step, response / summaries.at_distance(formation, None), color=colour,
            label=rf"$\overline{{C}}_\Delta({name})$ / $\overline{{C}}_\Delta(0)$",
        )  # fmt: skip
    axes.set(ylim=(0, 1.1))
    axes.legend(loc="center right", bbox_to_anchor=(0.98, 0.7))


def share_panel(axes: Axes, formation: xr.Dataset) -> None:
    """Share of T0 - 1 in the response at T0 - 1 and T0, along the layers."""
    share = summaries.share(formation)
    last = share.sizes["position"] - 1
    positions = range(3, last + 1, 2) if last > 4 else range(1, last + 1)
    colours = shades(len(positions))
    for position, colour in zip(positions, colours, strict=True):
        axes.plot(
            formation.step, share.isel(position=position), color=colour,
            label=rf"$\ell = {position}$", linewidth=1,
        )  # fmt: skip
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0, 1), ylabel="share of $T_0-1$")
    axes.legend(loc="lower right", fontsize=7, ncol=3)


def frame_panel(axes: Axes, frame: xr.Dataset) -> plt.cm.ScalarMappable:
    """C_delta in the limit by position and distance, near T0, each row by its largest."""
    t0 = int(frame.t0)
    offsets = np.arange(-HALF_WINDOW, HALF_WINDOW + 1)
    window = frame.linear.sel(delta_j=t0 + offsets).transpose("position", "delta_j")
    largest = window.max("delta_j")
    image = (window / largest.where(largest > 0)).values
    drawn = axes.imshow(
        image, origin="lower", aspect="auto", vmin=0, vmax=1,
        cmap=plt.colormaps["viridis"].with_extremes(bad=EMPTY),
        extent=(offsets[0] - 0.5, offsets[-1] + 0.5, -0.5, len(image) - 0.5),
    )  # fmt: skip
    axes.set_xticks([-1, 0], ["$-1$", "0"], fontsize=7)
    axes.set_xlabel(rf"$\Delta j - T_0$" f"\n$T_0 = {t0}$", fontsize=8)
    return drawn
