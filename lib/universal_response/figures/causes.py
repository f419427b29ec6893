"""What heads cause."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.heads import CLASS_COLOURS, TITLES, head_map, mark_classes
from universal_response.figures.style import CATEGORIES, GREY, style, tag_all
from universal_response.heads import summaries


def causes(study: xr.Dataset) -> Figure:
    """Ablation, direct effects, patching, and whole classes of heads against random ones.

    Args:
        study: of `heads.study_heads`.
    """
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(9.8, 6.6), layout="constrained")
        for axes, name, label in (
            (grid[0, 0], "ablation_effect", "change of the logit difference,\nhead at its mean"),
            (grid[1, 0], "denoising", "change of the logit difference,\nhead restored"),
        ):
            reach = float(abs(study[name]).max())
            drawn = head_map(axes, study[name], -reach, reach, "RdBu_r")
            mark_classes(axes, study)
            figure.colorbar(drawn, ax=axes, label=label)
        against_panel(grid[0, 1], study, "ablation_effect", "direct_effect")
        grid[0, 1].set(xlabel="total effect of ablation", ylabel="direct effect")
        grid[0, 1].legend(loc="best")
        against_panel(grid[1, 1], study, "denoising", "denoising_estimate")
        grid[1, 1].set(xlabel="effect of patching", ylabel="first-order estimate")
        classes_panel(grid[0, 2], study, "set_logit_difference")
        grid[0, 2].set_xlabel("logit difference")
        classes_panel(grid[1, 2], study, "set_loss", change=True)
        grid[1, 2].set_xlabel("change of the loss of\nunrepeated tokens (nats)")
        grid[0, 2].legend(loc="lower center", bbox_to_anchor=(0.4, 1.07), ncol=3, fontsize=7)
        tag_all(grid)
    return figure


def against_panel(axes: Axes, dataset: xr.Dataset, x: str, y: str) -> None:
    """Two numbers of every head against each other, with errors and the line of equality.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
        x, y: names of variables (layer, head).
    """
    for name, colour in CLASS_COLOURS.items():
        mine = (dataset.head_class == name).values
        if mine.any():
            axes.errorbar(
                dataset[x].values[mine], dataset[y].values[mine],
                xerr=dataset[f"{x}_sem"].values[mine], yerr=dataset[f"{y}_sem"].values[mine],
                fmt=".", color=colour, elinewidth=0.5, label=TITLES[name],
            )  # fmt: skip
    both = np.concatenate([dataset[each].values.ravel() for each in (x, y)])
    ends = [both.min(), both.max()]
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)


def classes_panel(axes: Axes, dataset: xr.Dataset, name: str, change: bool = False) -> None:
    """Sets of heads replaced by their mean, by zeros and by the mean of unrepeated tokens.

    Of random sets the mean, with the spread between draws as its error; of others the standard
    error over sequences.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
        name: of the variable (head_set, replacement, mapped_sequence).
        change: show its change from the whole model.
    """
    found = summaries.sets_replaced(dataset, name, change)
    rows = [*([] if change else ["none"]), *summaries.CLASSES, summaries.RANDOM]
    for k, by in enumerate(found.replacement.values):
        one = found.sel(replacement=by, head_set=rows)
        axes.barh(
            np.arange(len(rows)) + 0.27 * (k - 1), one["mean"], 0.25, xerr=one.error,
            color=CATEGORIES[k], label=str(by), error_kw={"lw": 0.7},
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [TITLES.get(row, row) for row in rows])
    axes.invert_yaxis()
