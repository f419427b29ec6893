"""What heads look at, and what of the response each carries."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullFormatter

from universal_response.figures.style import CATEGORIES, GREY, style, tag_all
from universal_response.heads import summaries

# Colours of the classes of heads, in all figures of the chapter.
CLASS_COLOURS = {
    "induction": CATEGORIES[1],
    "previous_token": CATEGORIES[0],
    "duplicate_token": CATEGORIES[2],
    "": "0.6",
}

TITLES = {
    "previous_token": "previous token",
    "duplicate_token": "duplicate token",
    "induction": "induction",
    "": "other heads",
}


def heads(study: xr.Dataset) -> Figure:
    """Maps over heads: three attention scores, prefix matching with a gap, the response carried.

    Args:
        study: of `heads.study_heads`.
    """
    score = study.attention_score.sel(input="repeated")
    maps = [
        *((TITLES[name], score.sel(score=name)) for name in list(TITLES)[:3]),
        ("matching, with a gap", study.prefix_matching_gapped),
    ]
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(9.2, 6.8), layout="constrained")
        for axes, (title, values) in zip(grid.ravel(), maps, strict=False):
            drawn = head_map(axes, values, 0, 1, "viridis")
            mark_classes(axes, study)
            axes.set_title(title)
        figure.colorbar(drawn, ax=grid[1, 0], label="mean attention")
        carried = summaries.carried_where_added(study)
        reach = float(abs(carried).max())
        drawn = head_map(grid[1, 1], carried, -reach, reach, "RdBu_r")
        mark_classes(grid[1, 1], study)
        grid[1, 1].set_title("response carried")
        figure.colorbar(drawn, ax=grid[1, 1], label=r"part of $C_\Delta$ at $\Delta j = T_0-1$")
        controls_panel(grid[1, 2], study)
        tag_all(grid)
    return figure


def head_map(axes: Axes, values: xr.DataArray, low: float, high: float, colours: str) -> AxesImage:
    """Numbers of all heads: one row a layer, the first below.

    Args:
        axes: to draw on.
        values: (layer, head).
        low, high: ends of the colours.
        colours: name of a colour map.
    """
    drawn = axes.imshow(
        values.transpose("layer", "head"), vmin=low, vmax=high, cmap=colours, aspect="auto",
        origin="lower",
    )  # fmt: skip
    axes.set(xlabel="head", ylabel="layer")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def mark_classes(axes: Axes, dataset: xr.Dataset) -> None:
    """A ring in the colour of its class around every head that has one."""
    for name, colour in CLASS_COLOURS.items():
        mine = summaries.of_class(dataset, name)
        if name and mine:
            layers, heads = zip(*mine, strict=True)
            axes.plot(
                heads, layers, "o", color="none", markeredgecolor=colour, markersize=5,
                markeredgewidth=1.2, label=TITLES[name],
            )  # fmt: skip


def controls_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Induction scores of all heads in order, and of the same under two nulls.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
    """
    every = dataset.attention_score.sel(score="induction")
    looks = {"repeated": CATEGORIES[1], "unrepeated": GREY, "shuffled weights": CATEGORIES[5]}
    for name, colour in looks.items():
        ordered = np.sort(every.sel(input=name).values.ravel())[::-1]
        axes.plot(np.arange(1, len(ordered) + 1), ordered, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="rank of the head", ylabel="induction score")
    axes.set_ylim(1e-4, 1.5)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="lower left")
