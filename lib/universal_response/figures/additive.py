"""Many heads, of which each adds its part."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.panels import few_ticks
from universal_response.figures.style import CATEGORIES, GREY, style, tag_all

PRESERVED = {"pattern": "patterns kept", "value": "values kept"}
ABLATED = {"previous": "previous-\ntoken heads", "others": "all others", "random": "random\nothers"}


def additive(study: xr.Dataset) -> Figure:
    """Heads kept alone, dropped, added back, ablated and swept, and how the layers are wired.

    Args:
        study: of `training.study_training`.
    """
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(9.8, 6.0), layout="constrained")
        alone_panel(grid[0, 0], study)
        added_back_panel(grid[0, 1], study)
        ablated_panel(grid[0, 2], study)
        swept_panel(grid[1, 0], study)
        for axes, name in ((grid[1, 1], "key"), (grid[1, 2], "value")):
            drawn = wiring_panel(axes, study, name)
            unit = "induction strength" if name == "key" else "logits"
            figure.colorbar(drawn, ax=axes, label=f"gained ({unit})")
        tag_all(grid)
    return figure


def alone_panel(axes: Axes, study: xr.Dataset) -> None:
    """Accuracy with one head of layer 2 alone, and without it, against its induction strength."""
    for name, colour, label in (
        ("keep_one_accuracy", CATEGORIES[0], "alone"),
        ("drop_one_accuracy", CATEGORIES[1], "all others"),
    ):
        axes.plot(
            study.strength.values.ravel(), study[name].values.ravel(), ".", color=colour,
            label=label, alpha=0.8,
        )  # fmt: skip
    axes.set(xlabel="induction strength of the head", ylabel="accuracy", ylim=(0, 1.04))
    axes.legend(loc="lower right")


def added_back_panel(axes: Axes, study: xr.Dataset) -> None:
    """Loss with the strongest heads alone, by their number; a line for every seed."""
    axes.plot(study.n_heads, study.added_back_loss.T, ".-", color=CATEGORIES[0], linewidth=0.8)
    axes.set(yscale="log", xlabel="strongest heads of layer 2 that act", ylabel="loss")
    few_ticks(axes.yaxis)


def ablated_panel(axes: Axes, study: xr.Dataset) -> None:
    """Accuracy with heads of layer 1 ablated: bars of medians, a point for every seed."""
    for k, (preserved, label) in enumerate(PRESERVED.items()):
        found = study.previous_ablated_accuracy.sel(preserved=preserved, ablated=list(ABLATED))
        at = np.arange(len(ABLATED)) + 0.38 * (k - 0.5)
        axes.bar(at, found.median("trained"), 0.35, color=CATEGORIES[k], label=label, alpha=0.7)
        for row in found.values:
            axes.plot(at, row, ".", color="0.2", markersize=3)
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(ABLATED)), ABLATED.values())
    axes.set(
        ylabel="accuracy", xlabel="ablated in layer 1", ylim=(0, 1.25), yticks=np.linspace(0, 1, 5)
    )
    axes.legend(loc="upper center", ncol=2, fontsize=7, columnspacing=1, handlelength=1.2)


def swept_panel(axes: Axes, study: xr.Dataset) -> None:
    """Logit difference with the strength of the strongest head, which acts alone, set by hand."""
    axes.plot(study.set_strength, study.swept_difference.T, color=CATEGORIES[0], linewidth=0.8)
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="induction strength, set", ylabel="logit difference")


def wiring_panel(axes: Axes, study: xr.Dataset, name: str) -> plt.cm.ScalarMappable:
    """What heads of layer 2 gain where one head of layer 1 alone feeds an input; first seed.

    Args:
        axes: to draw on.
        study: of `training.study_training`.
        name: of the input.
    """
    gained = study.gained_with.sel(input=name).isel(trained=0).transpose("first_head", "head")
    reach = float(abs(gained).max())
    drawn = axes.imshow(gained, cmap="RdBu_r", vmin=-reach, vmax=reach, origin="lower")
    axes.set(
        xlabel="head of layer 2", ylabel="head of layer 1",
        title=f"{name}s, seed {int(study.trained[0])}",
    )  # fmt: skip
    return drawn
