"""Why the response is universal: the approach to the exact limit."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response import models, response
from universal_response.figures.panels import band, ends, log_scale
from universal_response.figures.style import (
    ACCENT,
    CATEGORIES,
    GREY,
    epsilon_colours,
    style,
    symbol_mean,
    tag_all,
)


def linear_limit(datasets: Mapping[str, xr.Dataset], epsilon0: float = 0.03) -> Figure:
    """Why the response is universal: the approach to the exact limit, a column for each model.

    Rows: C_delta / epsilon against dj and its limit; the deviation of the two against epsilon; the
    deviation delta(epsilon) of Fig. 5 and what the higher orders predict for it.
    """
    with style():
        figure, grid = plt.subplots(
            3, len(datasets), figsize=(4.4 * len(datasets), 8.2), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for column, dataset in enumerate(datasets.values()):
            top, middle, bottom = grid[:, column]
            top.set_title(models.title(dataset.attrs["model"]))
            approach_panel(top, dataset, "delta")
            orders_panel(middle, dataset, "delta")
            explained_panel(bottom, dataset, "delta", epsilon0)
        for axes in grid[:, 0]:
            axes.legend(loc="best", fontsize=7)
        tag_all(grid)
    return figure


def approach_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """C / epsilon^power at l = 2L for every strength, and the exact limit as a black line.

    Args:
        axes: to draw on.
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
    """
    t0 = int(dataset.attrs["t0"])
    at = {"metric": metric, "position": response.last(dataset)}
    power = response.POWER[metric]
    curves = dataset.response.sel(at) / dataset.epsilon**power
    for epsilon, colour in epsilon_colours(dataset):
        axes.plot(
            dataset.delta_j, curves.sel(epsilon=epsilon), color=colour, linewidth=0.8,
            label=rf"$\varepsilon={epsilon:g}$" if epsilon in ends(dataset) else None,
        )  # fmt: skip
    limit, error = response.measured_linear(dataset).sel(at), dataset.linear_sem.sel(at)
    band(axes, limit, error, "delta_j", "black", "linear limit")
    axes.axvline(t0 - 1, color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    log_scale(axes)
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(f"${symbol_mean(metric)} / \\varepsilon{'^2' if power == 2 else ''}$")


def orders_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """|C / (epsilon^power linear) - 1| at l = 2L: every dj, their root mean square, and its terms.

    The terms are b epsilon and c epsilon^2 of `response.higher_orders`, each as its root mean
    square over dj.

    Args:
        axes: to draw on.
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
    """
    found = response.orders(dataset, metric)
    epsilon = dataset.epsilon
    axes.plot(
        epsilon, abs(found.excess).transpose("epsilon", "delta_j"), linestyle="none", marker=".",
        markersize=2, alpha=0.3, color=CATEGORIES[5], rasterized=True,
    )  # fmt: skip
    axes.plot(epsilon, found.rms, "o-", markersize=3.5, color=CATEGORIES[0],
              label=r"root mean square over $\Delta j$")  # fmt: skip
    axes.plot(epsilon, abs(found["mean"]), "s", markersize=3, color=ACCENT,
              label=r"|mean over $\Delta j$|")  # fmt: skip
    for term, line, label in (
        ("second", "--", r"$b\,\varepsilon$"),
        ("third", ":", r"$c\,\varepsilon^2$"),
    ):
        axes.plot(epsilon, found[term], line, color="0.25", linewidth=1, label=label)
    axes.axhline(0.05, color=GREY, linewidth=0.8)
    axes.text(float(epsilon[0]), 0.055, "5 %", color=GREY, fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 3)
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(rf"$|{symbol_mean(metric)} / (\varepsilon\,\mathrm{{linear}}) - 1|$")


def explained_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """delta(epsilon) of Fig. 5 and its prediction from the limit and two higher orders.

    Args:
        axes: to draw on.
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    deviation = response.relative_deviation(dataset, metric, epsilon0)["mean"]
    fine = xr.DataArray(np.geomspace(dataset.epsilon.min(), dataset.epsilon.max(), 200), dims="x")
    predicted = response.predicted_deviation(dataset, metric, epsilon0, fine)
    limit = response.weak_deviation(dataset, metric, epsilon0)
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
    axes.axvline(epsilon0, color=GREY, linewidth=0.8)
    axes.axhline(limit, color=CATEGORIES[0], linewidth=0.9, label="from the linear limit alone")
    axes.plot(
        fine, predicted, color="0.25", linewidth=1, label="with two higher orders, fitted up to 0.1"
    )
    axes.plot(dataset.epsilon, deviation, "o", markersize=3.5, color=ACCENT,
              label=r"$\delta(\varepsilon)$ of Fig. 5")  # fmt: skip
    axes.set_xscale("log")
    low, high = float(deviation.min()), float(deviation.max())
    room = 0.35 * (high - low) + 0.01
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(r"$\delta$")
