"""How fast: times of the ways to compute the same, and of the engine against every size."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response import models
from universal_response.figures.style import (
    ACCENT,
    GREY,
    MLP,
    style,
    tag_all,
)


def speed(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """Times of several ways to compute the same, one panel a comparison.

    Bars are medians over repetitions, points the repetitions; the line is the shortest possible
    time at the measured matrix-product rate.

    Args:
        comparisons: as `benchmarks compare` writes them.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(comparisons), figsize=(4.2 * len(comparisons), 2.8), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for axes, found in zip(grid[0], comparisons, strict=True):
            _speed_panel(axes, found)
        if len(comparisons) > 1:
            tag_all(grid)
    return figure


def _speed_panel(axes: Axes, found: Mapping[str, Any]) -> None:
    contenders = found["contenders"]
    for place, (name, row) in enumerate(contenders.items()):
        ours = name in ("engine", "linear")
        axes.barh(place, row["median_s"], color=ACCENT if ours else "0.75", height=0.65)
        axes.plot(row["seconds"], [place] * len(row["seconds"]), ".", color="0.2", markersize=4)
        axes.annotate(
            f"{row['median_s']:.0f} s, {row['times_engine']:.2g}x",
            (max(row["seconds"]), place), (4, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    limit = found["limit"]["seconds"]
    axes.axvline(limit, color=GREY, linestyle="--", linewidth=0.9)
    axes.annotate(
        "shortest possible", (limit, -0.75), (3, 0), textcoords="offset points", fontsize=7,
        color=GREY, va="center", annotation_clip=False,
    )  # fmt: skip
    axes.set_yticks(range(len(contenders)), list(contenders))
    axes.set_ylim(len(contenders) - 0.4, -1)
    axes.set_xlim(0, 1.3 * max(max(row["seconds"]) for row in contenders.values()))
    axes.set_xlabel("time (s)")
    axes.set_title(models.title(found["case"]["model"]))


def growth(found: Mapping[str, Any]) -> Figure:
    """Time of the engine against every size that was varied, with a line of constant speed.

    Args:
        found: as `benchmarks growth` writes it.
    """
    labels = {
        "t0": r"$T_0$",
        "sequences": "sequences",
        "epsilons": "strengths",
        "layers": r"layers $L$",
    }
    with style():
        figure, grid = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained", sharey=True)
        for axes, (name, points) in zip(grid, found["growth"].items(), strict=True):
            sizes = [point[name] for point in points]
            work = np.array([point["token_passes"] * point["layers"] for point in points])
            largest = points[-1]["median_s"] / work[-1]
            axes.plot(sizes, work * largest, "--", color=GREY, label="constant speed")
            for point in points:
                seconds = point["seconds"]
                axes.plot([point[name]] * len(seconds), seconds, ".", color="0.4", markersize=4)
            axes.plot(sizes, [point["median_s"] for point in points], "o-", color=MLP, markersize=4)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_xlabel(labels[name])
        grid[0].set_ylabel("time (s)")
        grid[0].legend()
        tag_all(np.array([grid]))
    return figure
