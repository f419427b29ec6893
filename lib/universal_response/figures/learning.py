"""How induction is learned: loss, accuracy and what heads attend to, over training."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.style import CATEGORIES, GREY, shades, style, tag_all
from universal_response.training import summaries
from universal_response.training.summaries import FULL

THOUSAND = 1e3
SPLITS = {"training": "training", "unseen": "unseen classes", "relabelled": "relabelled"}


def learning(study: xr.Dataset) -> Figure:
    """The phase change: loss and accuracy of three kinds of sequences, and heads of both layers.

    Args:
        study: of `training.study_training`.
    """
    runs = summaries.runs_of(study, FULL)
    first = int(study.trained[0])
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(9.8, 5.6), layout="constrained")
        splits_panel(grid[0, 0], runs, "loss")
        grid[0, 0].axhline(summaries.LN2, color=GREY, linewidth=0.8, linestyle=":")
        grid[0, 0].text(1, summaries.LN2, r"$\ln 2$", transform=grid[0, 0].get_yaxis_transform(),
                        ha="right", va="bottom", color=GREY)  # fmt: skip
        grid[0, 0].legend(loc="upper right")
        splits_panel(grid[0, 1], runs, "accuracy")
        grid[0, 1].axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        strongest = summaries.largest_strength(study, FULL)
        over_training(grid[0, 2], runs, strongest, CATEGORIES[1])
        grid[0, 2].set_ylabel("strength of the\nstrongest head")
        of_first = runs.isel(run=0)
        for axes, name, label in (
            (grid[1, 0], "previous_token", "attention to the token\nbefore, heads of layer 1"),
            (grid[1, 1], "induction_strength", "induction strength,\nheads of layer 2"),
        ):
            heads_panel(axes, of_first, name)
            axes.set_ylabel(label)
            axes.set_title(f"seed {first}")
        grid[1, 0].legend(title="head", ncol=2, fontsize=7, title_fontsize=7)
        strengths_panel(grid[1, 2], study)
        for axes in grid.ravel()[:5]:
            axes.set_xlabel("sequences seen (thousands)")
        tag_all(grid)
    return figure


def splits_panel(axes: Axes, runs: xr.Dataset, name: str) -> None:
    """Loss or accuracy over training of three kinds of sequences, a thin line for every run.

    Args:
        axes: to draw on.
        runs: of one experiment.
        name: of the variable (run, time, split).
    """
    for colour, (split, label) in zip(CATEGORIES, SPLITS.items(), strict=False):
        over_training(axes, runs, runs[name].sel(split=split), colour, label)
    axes.set_ylabel(name)


def over_training(
    axes: Axes, runs: xr.Dataset, values: xr.DataArray, colour: str, label: str = ""
) -> None:
    """Thin lines for runs, and a thick one for their median.

    Args:
        axes: to draw on.
        runs: of one experiment, which say when.
        values: (run, time).
        colour: of the lines.
        label: of the median, for a legend.
    """
    when = runs.sequences / THOUSAND
    for run in range(values.sizes["run"]):
        axes.plot(when[run], values[run], color=colour, linewidth=0.5, alpha=0.5)
    axes.plot(when[0], values.median("run"), color=colour, label=label or None)


def heads_panel(axes: Axes, run: xr.Dataset, name: str) -> None:
    """A measure of every head of one run over training.

    Args:
        axes: to draw on.
        run: of one experiment.
        name: of the variable (time, head).
    """
    colours = shades(run.sizes["head"])
    for head, colour in enumerate(colours):
        axes.plot(
            run.sequences / THOUSAND, run[name].isel(head=head), color=colour, linewidth=1,
            label=str(head),
        )  # fmt: skip


def strengths_panel(axes: Axes, study: xr.Dataset) -> None:
    """Induction strengths of all heads at the end, a column for every seed."""
    for place, seed in enumerate(study.trained.values):
        strength = study.strength.sel(trained=seed)
        axes.plot(np.full(len(strength), place), strength, ".", color=CATEGORIES[0], alpha=0.8)
    axes.set_xticks(range(study.sizes["trained"]), study.trained.values)
    axes.set(xlabel="seed", ylabel="induction strength\nat the end, all heads", ylim=(-0.1, 1))
