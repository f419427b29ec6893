"""Does the response announce the phase change?"""

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.learning import THOUSAND, over_training
from universal_response.figures.style import CATEGORIES, GREY, style, tag_all
from universal_response.training import summaries
from universal_response.training.summaries import RESPONSES


def announcing(study: xr.Dataset) -> Figure:
    """Loss, induction strength and the contrast of the response over training.

    Args:
        study: of `training.study_training`.
    """
    runs = summaries.runs_of(study, RESPONSES)
    strength = summaries.largest_strength(study, RESPONSES)
    contrast = summaries.contrast(study, RESPONSES)
    loss = runs.loss.sel(split="training")
    with style():
        figure, grid = plt.subplots(1, 3, figsize=(9.8, 3.1), layout="constrained")
        for values, colour, label in (
            (loss, CATEGORIES[0], "loss"),
            (strength, CATEGORIES[1], "strength of the strongest head"),
            (contrast, CATEGORIES[2], "$S$"),
        ):
            over_training(grid[0], runs, values, colour, label)
        grid[0].set(xlabel="sequences seen (thousands)", ylim=(-0.1, 1.5))
        grid[0].legend(loc="upper right")
        against_panel(grid[1], strength, contrast)
        lag_panel(grid[2], study)
        tag_all(grid)
    return figure


def against_panel(axes: Axes, strength: xr.DataArray, contrast: xr.DataArray) -> None:
    """S against induction strength along training, a line for every run."""
    axes.plot(strength.T, contrast.T, color=CATEGORIES[2], linewidth=0.8)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlabel="induction strength of the strongest head", ylabel="$S$")


def lag_panel(axes: Axes, study: xr.Dataset) -> None:
    """When loss, strength and S are half-way, run by run."""
    found = summaries.half_points(study, RESPONSES)
    names = list(found)
    for run in range(found.sizes["run"]):
        times = [float(found[name][run]) / THOUSAND for name in names]
        axes.plot(range(len(names)), times, ".-", color=CATEGORIES[0], linewidth=0.8)
    axes.set_xticks(range(len(names)), ["loss", "strength", "$S$"])
    axes.set(ylabel="half-way after sequences (thousands)", xlim=(-0.3, len(names) - 0.7))
