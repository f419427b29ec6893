"""How few heads, MLPs and neurons of a model that adds suffice, and what parts write."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.arithmetic import summaries
from universal_response.figures.style import ACCENT, CATEGORIES, GREY, style, tag_all


def adder_circuit(study: xr.Dataset) -> Figure:
    """Circuits of every digit beside random ones; neurons; direct effects of all parts.

    Args:
        study: of `arithmetic.study_arithmetic`.
    """
    n = study.sizes["answer"]
    with style():
        figure, grid = plt.subplots(2, max(n, 3), figsize=(9.6, 6), layout="constrained")
        for answer, axes in zip(range(n), grid[0], strict=False):
            circuit_panel(axes, study, answer)
        grid[0, 0].legend(loc="upper left", bbox_to_anchor=(0, 0.92))
        grid[0, 0].set_ylabel("part of the digits that are right")
        for layer, axes in zip(range(2), grid[1], strict=False):
            neurons_panel(axes, study, study.sizes["layer"] - 2 + layer)
        grid[1, 0].set_ylabel("part of the results that are right")
        grid[1, 0].legend(loc="upper left", title="neurons of largest effect on")
        written_panel(grid[1, 2], study)
        tag_all(grid)
    return figure


def circuit_panel(axes: Axes, study: xr.Dataset, answer: int) -> None:
    """Part of the digits that some nodes alone get right, against their number."""
    found, random = study.circuit_accuracy.isel(answer=answer), summaries.random_circuits(study)
    random, size = random.isel(answer=answer), found.circuit_size
    axes.fill_between(size, random.low, random.high, color=GREY, alpha=0.3, linewidth=0)
    axes.plot(size, random["mean"], color=GREY, label="random nodes")
    axes.plot(
        size, found.sel(ranking=summaries.BY_EFFECT), color=ACCENT, marker=".", label="by effect"
    )
    axes.axvline(int(study.circuit_nodes[answer]), color=ACCENT, linewidth=0.8, linestyle=":")
    axes.set(xlabel=f"nodes in the circuit of $r_{answer}$", ylim=(0, 1.03))


def neurons_panel(axes: Axes, study: xr.Dataset, layer: int) -> None:
    """Part of sums and differences that are right with some neurons of a layer alone."""
    of = study.neuron_accuracy.isel(layer=layer)
    for colour, ranked in zip((*CATEGORIES[:2], GREY), of.ranked_on.values, strict=True):
        for line, operation in zip(("-", "--"), of.operation.values, strict=True):
            axes.plot(
                of.kept, of.sel(ranked_on=ranked, operation=operation), line, color=colour,
                label=str(ranked) if line == "-" else None,
            )  # fmt: skip
    axes.set_xscale("symlog", linthresh=1)
    ticks = [int(n) for n in of.kept.values if n in (0, 1, 4, 16, 64, 256)]
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.set(xlabel=f"neurons of MLP {layer} that are kept", ylim=(0, 1.03))


def written_panel(axes: Axes, study: xr.Dataset) -> None:
    """What each part writes along the right digit, and along that of an operand and another."""
    found = summaries.mean_over_operand_digits(study, "written")
    parts = [str(part) for part in found.part.values]
    y = np.arange(len(parts))
    looks = {"right": (ACCENT, "o"), "first": (CATEGORIES[0], "v"), "second": (CATEGORIES[2], "^"),
             "other": (GREY, "x")}  # fmt: skip
    for name, (colour, mark) in looks.items():
        one = found.sel(followed=name)
        axes.errorbar(
            one["mean"], y, xerr=one.error, fmt=mark, color=colour, markersize=4, elinewidth=0.7,
            label={"first": "digit of $a$", "second": "digit of $b$"}.get(name, f"{name} digit"),
        )  # fmt: skip
    axes.axvline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set_yticks(y, [part.replace("mlp", "MLP") for part in parts])
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks([-1, 0, 1, 10], ["-1", "0", "1", "10"])
    axes.set_xlabel("written to the logit of")
    axes.legend(loc="lower right", fontsize=7)
