"""The response of the places that answer to a change of a digit, beside the answer itself."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.arithmetic import summaries
from universal_response.figures.adder_effects import place_name
from universal_response.figures.style import ACCENT, CATEGORIES, GREY, style, tag_all

SOURCES = ("o", "s", "^", "D")


def adder_response(studies: Sequence[xr.Dataset]) -> Figure:
    """Response against change of the answer; response and answer where a carry is near.

    Args:
        studies: of `arithmetic.study_arithmetic`, of several seeds of one training.
    """
    with style():
        figure, grid = plt.subplots(1, 3, figsize=(9.8, 3.3), layout="constrained")
        against_panel(grid[0], studies)
        raised_panel(grid[1], studies)
        flips_panel(grid[2], studies)
        tag_all(grid)
    return figure


def against_panel(axes: Axes, studies: Sequence[xr.Dataset]) -> None:
    """Response to an operand's digit and change of the answer, each operand digit and answer."""
    for study in studies:
        found = summaries.response_and_distance(study)
        for mark, source in zip(SOURCES, found.source.values, strict=False):
            one = found.sel(source=source)
            for answer in range(found.sizes["answer"]):
                at = one.isel(answer=answer)
                axes.plot(
                    at.distance, at.response, mark, color=CATEGORIES[answer], markersize=5,
                    markerfacecolor="none",
                )  # fmt: skip
    for mark, source in zip(SOURCES, studies[0].source.values, strict=False):
        axes.plot([], [], mark, color=GREY, markerfacecolor="none", label=place_name(source))
    for answer in range(studies[0].sizes["answer"]):
        axes.plot([], [], "_", color=CATEGORIES[answer], markersize=8, label=f"$r_{answer}$")
    axes.set_yscale("log")
    axes.set(xlabel="distance by which the answer moves")
    axes.set_ylabel(r"$\overline{C}_\Delta / \varepsilon$ at $\ell = 2L$, limit")
    axes.legend(loc="best", fontsize=7, ncol=2)


def raised_panel(axes: Axes, studies: Sequence[xr.Dataset]) -> None:
    """Response to units raised by one at the places of units and tens, by the sum of both units."""
    for answer, colour in ((0, CATEGORIES[0]), (1, CATEGORIES[1])):
        for k, study in enumerate(studies):
            of = study.raised_response.isel(position=-1, answer=answer).sel(behind="before")
            error = study.raised_response_sem.isel(position=-1, answer=answer).sel(behind="before")
            axes.errorbar(
                study.unit_sum, np.exp(of), yerr=np.exp(of) * error, color=colour, linewidth=1,
                elinewidth=0.6, label=f"where $r_{answer}$ is predicted" if k == 0 else None,
            )  # fmt: skip
    axes.axvline(9, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yscale("log")
    axes.set(xlabel="$a_0 + b_0$ before", ylabel=r"$\overline{C}_\Delta$ at $\ell = 2L$")
    axes.legend(loc="best", fontsize=7)


def flips_panel(axes: Axes, studies: Sequence[xr.Dataset]) -> None:
    """How often the tens change when units are raised, and when the units of the result are."""
    looks = {"operand, result as before": (CATEGORIES[0], "$a_0$ raised"),
             "result alone": (ACCENT, "$r_0$ alone becomes the next")}  # fmt: skip
    for changed, (colour, label) in looks.items():
        for k, study in enumerate(studies):
            axes.plot(
                study.unit_sum, study.answer_flips.sel(changed=changed).isel(answer=1), ".-",
                color=colour, linewidth=0.8, label=label if k == 0 else None,
            )  # fmt: skip
    axes.set(xlabel="$a_0 + b_0$ before", ylabel="part of the predicted $r_1$ that change")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="upper left", fontsize=7)
