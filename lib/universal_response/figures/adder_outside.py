"""Problems of a kind that a model that adds has never seen: whether it solves and expects them."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.arithmetic import summaries
from universal_response.figures.style import CATEGORIES, GREY, style, tag_all

TITLES = {"nothing": "nothing withheld", "cascades": "cascades withheld", "block": "block withheld"}
MARKS = ("o", "s", "^", "D", "v")
KINDS = {
    "held_out": "held out",
    "withheld": "withheld kind",
    "operator first": "operator first",
    "operator last": "operator last",
    "negative difference": "negative difference",
}
ROWS = {
    "circuit, same answer": "circuit, same answer",
    "circuit, same answer, its place withheld": "… without the answering place",
    "circuit, another answer": "circuit, another answer",
    "random nodes, same answer": "random nodes, same answer",
    "other nodes, same answer": "all nodes but the circuit",
    "circuit, corrected output": "own output corrected: next digit",
    "circuit, corrected output, its place withheld": "… without the corrected place",
    "none, after the error": "… unpatched",
    "circuit, corrected output, one place later": "… at the error, from one place later",
}


def adder_outside(studies: Sequence[xr.Dataset]) -> Figure:
    """Likelihood against accuracy of seen and unseen kinds, and rescue of failing problems.

    Args:
        studies: of `arithmetic.study_arithmetic`, of several trainings and seeds.
    """
    with style():
        figure, grid = plt.subplots(
            1, 3, figsize=(10.2, 4.4), layout="constrained", width_ratios=(1, 1, 1.15)
        )
        accuracy_panel(grid[0], studies)
        likelihood_panel(grid[1], studies)
        rescue_panel(grid[2], studies)
        tag_all(grid)
    return figure


def accuracy_panel(axes: Axes, studies: Sequence[xr.Dataset]) -> None:
    """Part of the problems of each kind that are solved, a mark for every seed."""
    kinds = list(KINDS)
    for k, (withheld, title) in enumerate(TITLES.items()):
        mine = [study for study in studies if study.attrs["withheld"] == withheld]
        for study in mine:
            solved = summaries.likely(study).solved.sel(kind_of_problem=kinds)
            axes.plot(
                solved, np.arange(len(kinds)) + 0.22 * (k - 1), _mark(study), color=CATEGORIES[k],
                markersize=5, markerfacecolor="none", label=title if study is mine[0] else None,
            )  # fmt: skip
    axes.set_yticks(range(len(kinds)), KINDS.values())
    axes.invert_yaxis()
    axes.set(xlabel="part that is solved", xlim=(-0.03, 1.03))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.07), fontsize=7)


def likelihood_panel(axes: Axes, studies: Sequence[xr.Dataset]) -> None:
    """Part that is solved against the mean log likelihood, of every kind and model."""
    for k, withheld in enumerate(TITLES):
        for study in studies:
            if study.attrs["withheld"] == withheld:
                found = summaries.likely(study)
                for kind, mark in zip(KINDS, ("o", "*", "<", ">", "x"), strict=True):
                    one = found.sel(kind_of_problem=kind)
                    axes.plot(
                        one["mean"], one.solved, mark, color=CATEGORIES[k], markersize=6,
                        markerfacecolor="none", label=_once(axes, KINDS[kind]),
                    )  # fmt: skip
    axes.set(xlabel="mean log likelihood of what is asked", ylabel="part that is solved")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="center left", fontsize=7, labelcolor=GREY)


def _once(axes: Axes, label: str) -> str | None:
    """A label that is not there yet."""
    return None if label in axes.get_legend_handles_labels()[1] else label


def _mark(study: xr.Dataset) -> str:
    """Of the seed."""
    return MARKS[int(study.attrs["training_seed"]) % len(MARKS)]


def rescue_panel(axes: Axes, studies: Sequence[xr.Dataset]) -> None:
    """Part of the failing problems whose digit is right after a patch, a mark for every model."""
    failing = [study for study in studies if int(study.failing_problems) > 0]
    for study in failing:
        k, mark = (
            list(TITLES).index(study.attrs["withheld"]),
            MARKS[int(study.attrs["training_seed"])],
        )
        found = summaries.rescued(study).sel(rescue=list(ROWS))
        axes.errorbar(
            found["mean"], np.arange(len(ROWS)), xerr=found.error, fmt=mark, color=CATEGORIES[k],
            markersize=5, markerfacecolor="none", elinewidth=0.7,
            label=f"seed {study.attrs['training_seed']}, {int(study.failing_problems)} failing",
        )  # fmt: skip
    axes.set_yticks(range(len(ROWS)), list(ROWS.values()))
    axes.axhline(4.5, color="0.85", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="part that is right after the patch", xlim=(-0.03, 1.03))
    if failing:
        axes.legend(loc="lower center", bbox_to_anchor=(0.2, 1.07), fontsize=7, ncol=2)
