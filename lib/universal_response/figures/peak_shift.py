"""The finding in one picture."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response import response
from universal_response.figures.panels import band
from universal_response.figures.style import (
    ACCENT,
    CATEGORIES,
    GREY,
    style,
)


def peak_shift(datasets: Mapping[str, xr.Dataset]) -> Figure:
    """The finding in one picture: the peak at dj = T0 early in a model, at T0 - 1 at its end.

    One panel a model: C_delta around dj = T0 at `response.same_token_position` and at l = 2L, each
    divided by its maximum in the window. Bands: one standard error.

    Args:
        datasets: results by title. Where no position has its peak at T0 only l = 2L is drawn.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(datasets), figsize=(4.3 * len(datasets), 3.0), layout="constrained",
            squeeze=False, sharey=True,
        )  # fmt: skip
        for axes, (name, dataset) in zip(grid[0], datasets.items(), strict=True):
            _peak_shift_panel(axes, dataset)
            axes.set_title(name, pad=18)
        grid[0, 0].set_ylabel(r"response $\overline{C}_{\Delta}$ / maximum")
    return figure


def _peak_shift_panel(axes: Axes, dataset: xr.Dataset) -> None:
    t0, epsilon0 = response.peak_distance(dataset) + 1, float(dataset.attrs["epsilon0"])
    same = response.same_token_position(dataset, epsilon0)
    for position, colour, words in (
        (same, CATEGORIES[0], "early"),
        (response.last(dataset), ACCENT, "last"),
    ):
        if position is None:
            continue
        found = response.window_profile(dataset, "delta", epsilon0, position)
        label = rf"$\ell = {position}$ ({words})"
        band(axes, found["mean"], found.error, "delta_j", colour, label)
    for where, words, side in ((t0 - 1, "the token before", "right"), (t0, "same token", "left")):
        axes.axvline(where, color=GREY, linestyle=":", linewidth=0.9, zorder=0)
        axes.annotate(
            words, (where, 1.02), (-3 if side == "right" else 3, 0), textcoords="offset points",
            xycoords=axes.get_xaxis_transform(), ha=side, fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_xticks([t0 - 5, t0 - 1, t0, t0 + 5], ["$T_0-5$", "$T_0-1$  ", "  $T_0$", "$T_0+5$"])
    axes.set_xlabel(r"distance $\Delta j$ from the weakened token")
    axes.legend(loc="upper right")
