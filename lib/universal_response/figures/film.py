"""Fig. 4 over a training: where the response peaks while induction forms."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.style import CATEGORIES, EMPTY, GREY, style, tag
from universal_response.training import film_summaries as summaries

HALF_WINDOW = 3  # in the first phase blocks are short


def film(dataset: xr.Dataset) -> Figure:
    """Accuracy, response at two distances, and maps of the response of a few frames.

    Args:
        dataset: a film of the training of a GPT-2.
    """
    shown = summaries.shown_frames(dataset)
    with style():
        figure = plt.figure(figsize=(9.8, 5.2), layout="constrained")
        grid = figure.add_gridspec(2, len(shown), height_ratios=(1, 1.15))
        half = len(shown) // 2
        formation = dataset.isel(frame=(dataset.frame_phase == 0).values)
        curves, share = (
            figure.add_subplot(grid[0, place])
            for place in (slice(0, half), slice(half, len(shown)))
        )
        curves_panel(curves, formation)
        share_panel(share, formation)
        for axes in (curves, share):
            for place, frame in enumerate(shown):
                step = int(dataset.step[frame])
                if step <= int(formation.step[-1]):
                    axes.axvline(step, color=GREY, linewidth=0.5, linestyle=":")
                    axes.text(step, 1.02, str(place + 1), transform=axes.get_xaxis_transform(),
                              ha="center", color=GREY, fontsize=7)  # fmt: skip
            axes.set_xlabel("steps of the first phase")
        tag(curves, "a")
        tag(share, "b")
        for place, frame in enumerate(shown):
            axes = figure.add_subplot(grid[1, place])
            drawn = frame_panel(axes, dataset.isel(frame=frame))
            axes.set_title(f"{place + 1}: step {int(dataset.step[frame])}", fontsize=8)
            if place:
                axes.set_yticklabels([])
            else:
                axes.set_ylabel(r"position $\ell$")
        figure.colorbar(drawn, ax=axes, label=r"$\overline{C}_\Delta$ / row maximum")
    return figure


def curves_panel(axes: Axes, formation: xr.Dataset) -> None:
    """Accuracy on the second block, and C_delta at two distances at the end of the model."""
    axes.plot(formation.step, formation.accuracy, color=CATEGORIES[0], label="accuracy")
    for offset, colour, name in ((0, CATEGORIES[2], "T_0"), (-1, CATEGORIES[1], "T_0-1")):
        response = summaries.at_distance(formation, offset)
        axes.plot(
            formation.step, response / summaries.at_distance(formation, None), color=colour,
            label=rf"$\overline{{C}}_\Delta({name})$ / $\overline{{C}}_\Delta(0)$",
        )  # fmt: skip
    axes.set(ylim=(0, None))
    axes.legend(loc="upper left")


def share_panel(axes: Axes, formation: xr.Dataset) -> None:
    """Share of T0 - 1 in the response at T0 - 1 and T0, along the layers."""
    share = summaries.share(formation)
    last = share.sizes["position"] - 1
    positions = range(3, last + 1, 2) if last > 4 else range(1, last + 1)
    colours = plt.colormaps["viridis"](np.linspace(0, 0.9, len(positions)))
    for position, colour in zip(positions, colours, strict=True):
        axes.plot(
            formation.step, share.isel(position=position), color=colour,
            label=rf"$\ell = {position}$", linewidth=1,
        )  # fmt: skip
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0, 1), ylabel="share of $T_0-1$")
    axes.legend(loc="upper left", fontsize=7, ncol=2)


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
