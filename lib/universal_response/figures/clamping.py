"""What shortens the wait: clamps throughout training, and other data."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from universal_response.figures.learning import THOUSAND, over_training
from universal_response.figures.panels import few_ticks
from universal_response.figures.style import CATEGORIES, GREY, shades, style, tag_all
from universal_response.training import summaries
from universal_response.training.summaries import CLASSES, FULL, LABELS, SINGLE

CLAMPED = ("L1 + copy", "match", "copy", "L1", "PT", "none")
DATA = {"50 classes, 5 labels": FULL, CLASSES: CLASSES, LABELS: LABELS}


def clamping(study: xr.Dataset) -> Figure:
    """A toy, clamps, single heads, and other numbers of classes and labels.

    Args:
        study: of `training.study_training`.
    """
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(9.8, 5.8), layout="constrained")
        toy_panel(grid[0, 0], study)
        losses_panel(grid[0, 1], study, {name: name for name in CLAMPED}, logarithmic=True)
        learned_panel(grid[0, 2], study, (*CLAMPED, "all PT", summaries.GRAFT, FULL))
        single_panel(grid[1, 0], study)
        losses_panel(grid[1, 1], study, DATA)
        data_panel(grid[1, 2], study)
        for axes in (grid[0, 1], grid[1, 0], grid[1, 1]):
            axes.set(xlabel="sequences seen (thousands)", ylabel="loss")
            axes.axhline(summaries.LEARNED, color=GREY, linewidth=0.8, linestyle=":")
        tag_all(grid)
    return figure


def toy_panel(axes: Axes, study: xr.Dataset) -> None:
    """Loss of the product of three vectors, by what is given; a thin line for every seed."""
    for colour, given in zip(CATEGORIES, study.given.values, strict=False):
        loss = study.toy_loss.sel(given=given)
        axes.plot(study.step, loss.T, color=colour, linewidth=0.5, alpha=0.5)
        axes.plot(study.step, loss.median("trained"), color=colour, label=given)
    axes.set(
        xlabel="steps", ylabel="loss / loss of the plateau", ylim=(0, 1.6),
        xlim=(1, len(study.step)), xscale="log",
    )  # fmt: skip
    axes.legend(title="given", loc="upper right")


def losses_panel(
    axes: Axes, study: xr.Dataset, experiments: dict[str, str], logarithmic: bool = False
) -> None:
    """Training loss of experiments, a thin line for every run and a thick one for the median.

    Args:
        axes: to draw on.
        study: of `training.study_training`.
        experiments: by what the legend calls them.
        logarithmic: the axis of sequences; each curve begins at its first evaluation that it shows.
    """
    for colour, (label, name) in zip(CATEGORIES, experiments.items(), strict=False):
        runs = summaries.runs_of(study, name)
        if logarithmic:
            runs = runs.isel(time=slice(1, None))
        over_training(axes, runs, runs.loss.sel(split="training"), colour, label)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper right", fontsize=7)


def learned_panel(axes: Axes, study: xr.Dataset, experiments: tuple[str, ...]) -> None:
    """When the loss has fallen below `LEARNED`, median and range over seeds; an arrow: not yet."""
    for place, name in enumerate(experiments):
        found = summaries.learned(study, name) / THOUSAND
        end = float(summaries.runs_of(study, name).sequences.max()) / THOUSAND
        shown = np.minimum(found, end)
        axes.plot(shown, np.full(len(shown), place), ".", color=CATEGORIES[0], alpha=0.8)
        if not np.isfinite(found).all():
            axes.plot(end, place, ">", color=CATEGORIES[1], markersize=5)
    axes.set_yticks(range(len(experiments)), experiments)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"sequences to a loss of {summaries.LEARNED} (thousands)")
    few_ticks(axes.xaxis)


def single_panel(axes: Axes, study: xr.Dataset) -> None:
    """Training loss with a single head of layer 2 throughout, a line for every head."""
    runs = summaries.runs_of(study, SINGLE)
    colours = shades(runs.sizes["run"])
    for run, colour in enumerate(colours):
        one = runs.isel(run=run)
        axes.plot(
            one.sequences / THOUSAND, one.loss.sel(split="training"), color=colour, linewidth=1,
            label=str(int(one.active_head)),
        )  # fmt: skip
    axes.legend(title="single head", ncol=2, fontsize=7, title_fontsize=7)


def data_panel(axes: Axes, study: xr.Dataset) -> None:
    """How much later other data are learned, by what is clamped; every seed beside its own."""
    marks = {"nothing": "o", "L1 + copy": "s", "match": "^"}
    for colour, data in zip(CATEGORIES[1:], (CLASSES, LABELS), strict=False):
        found = summaries.delays(study, data)
        for place, clamp in enumerate(marks):
            delay = found[clamp].values
            # Side by side, where both have been.
            row = np.full(len(delay), place + (0.12 if data == LABELS else -0.12))
            axes.plot(delay, row, marks[clamp], color=colour, markersize=4, alpha=0.8)
        axes.plot([], [], "-", linewidth=4, color=colour, label=data)
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(
        range(len(marks)), ["nothing clamped", "L1 + copy:\nmatching (B)", "match:\ncopying (C)"]
    )
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="time to learn, over that of\n50 classes and 5 labels")
    axes.set_xticks([0.8, 1, 1.5, 2], ["0.8", "1", "1.5", "2"], minor=False)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.8))
