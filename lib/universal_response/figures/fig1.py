"""Fig. 1: the input, the perturbation and the three metrics."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from universal_response.figures.panels import log_scale
from universal_response.figures.style import (
    ACCENT,
    ATTENTION,
    CATEGORIES,
    GREY,
    MLP,
    THETA,
    style,
    symbol,
    tag,
)


def fig1(dataset: xr.Dataset, source: int | None = None) -> Figure:
    """Fig. 1: the input, the perturbation and the three metrics, from a measurement.

    Args:
        dataset: results of one model.
        source: the perturbed token position i, in the first block; a quarter into it if None.

    Raises:
        ValueError: source is not in the first block.
    """
    t0 = int(dataset.attrs["t0"])
    source = t0 // 4 if source is None else source
    if not 0 <= source < t0:
        raise ValueError(f"source={source}: outside the first block; use 0 <= source < {t0}")
    with style():
        figure = plt.figure(figsize=(8.6, 6.3), layout="constrained")
        rows = figure.add_gridspec(3, 3, height_ratios=(0.75, 1.55, 1.7))
        _sequence_strip(figure.add_subplot(rows[0, :]), dataset, source)
        _residual_stream_sketch(figure.add_subplot(rows[1, :2]))
        _metric_sketch(figure.add_subplot(rows[1, 2]))
        for column, metric in enumerate(("delta", "phi", THETA)):
            axes = figure.add_subplot(rows[2, column])
            row = dataset.matrix.sel(metric=metric).isel(source=source)
            target = np.arange(source, 2 * t0)
            axes.plot(target, row[source:], color=CATEGORIES[0], marker=".", markersize=3)
            axes.axvline(source + t0 - 1, color=GREY, linestyle="--", linewidth=1)
            if metric != THETA:
                log_scale(axes)
            axes.set_xlabel("token position $j$")
            axes.set_ylabel(f"${symbol(metric)}(i={source},\\,j)$")
            tag(axes, "abc"[column])
    return figure


def _sequence_strip(axes: Axes, dataset: xr.Dataset, source: int) -> None:
    """The repeated sequence: a cell a token, the same colour for the same token."""
    t0 = int(dataset.attrs["t0"])
    colours = mpl.colormaps["cividis"](np.linspace(0.15, 0.95, t0))
    shuffled = np.argsort(np.argsort(dataset.tokens[0, :t0].values))
    for j in range(2 * t0):
        axes.add_patch(Rectangle((j, 0), 1, 1, color=colours[shuffled[j % t0]], linewidth=0))
    labels = {
        source: (ACCENT, "perturbed token $i$"),
        source + t0 - 1: (CATEGORIES[0], "$j=i+T_0-1$"),
        source + t0: (GREY, ""),
    }
    for j, (colour, label) in labels.items():
        axes.add_patch(Rectangle((j, -0.08), 1, 1.16, fill=False, edgecolor=colour, linewidth=1.8))
        if label:
            axes.annotate(
                label, (j + 0.5, 1.1), (j + 0.5, 1.75), ha="right" if "T_0" in label else "center",
                color=colour, arrowprops={"arrowstyle": "->", "color": colour},
            )  # fmt: skip
    axes.annotate(
        "$j=i+T_0$ (same token)", (source + t0 + 0.8, 1.1), (source + t0 + 3, 1.75),
        color=GREY, arrowprops={"arrowstyle": "->", "color": GREY},
    )  # fmt: skip
    for block in (0, 1):
        axes.annotate(
            "",
            (block * t0, -0.35),
            (block * t0 + t0, -0.35),
            arrowprops={"arrowstyle": "<->", "color": GREY},
        )
        text = f"random block, $T_0={t0}$ tokens" if block == 0 else "the same block again"
        axes.text(block * t0 + t0 / 2, -0.85, text, ha="center", va="center", color=GREY)
    axes.set_xlim(-0.5, 2 * t0 + 0.5)
    axes.set_ylim(-1.2, 2.4)
    axes.axis("off")


def _residual_stream_sketch(axes: Axes) -> None:
    """Lanes of the residual stream: the perturbation enters at i and reaches every later token."""
    lanes = {"$i-1$": 0.0, "$i$": 1.0, "$i+1$": 2.0, r"$\cdots$": 3.0, "$j$": 4.0}
    for name, y in lanes.items():
        later = y >= 1
        colour = ACCENT if y == 1 else (CATEGORIES[4] if later else GREY)
        axes.add_patch(
            FancyArrowPatch((1.25, y), (9.2, y), arrowstyle="-|>", mutation_scale=9, color=colour,
                            linewidth=2.2 if y == 1 else 1.2)
        )  # fmt: skip
        axes.text(
            -0.9, y, f"token {name}", ha="left", va="center", color=ACCENT if y == 1 else "0.25"
        )
    for x, label, colour in (
        (3.2, "MHA", ATTENTION),
        (4.6, "MLP", MLP),
        (6.6, "MHA", ATTENTION),
        (8.0, "MLP", MLP),
    ):
        axes.add_patch(
            Rectangle((x - 0.33, -0.35), 0.66, 4.7, color=colour, alpha=0.85, linewidth=0, zorder=3)
        )
        axes.text(x, 2, label, rotation=90, ha="center", va="center", color="white", zorder=4)
    axes.text(5.6, 2.5, r"$\cdots$", ha="center", va="center", color=GREY, fontsize=12)
    axes.plot(1.65, 1, "o", color=ACCENT, markersize=7, zorder=5)
    axes.text(1.75, 1.42, r"$(1-\varepsilon)\,x_i^{(0)}$", color=ACCENT, ha="center", va="center",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=5)  # fmt: skip
    axes.text(9.35, 4, r"$x_j'^{(\ell)} = x_j^{(\ell)} + D_j^{(\ell)}$", va="center", color="0.25")
    axes.text(9.35, 0, "unchanged (causal)", va="center", color=GREY)
    axes.text(9.35, 1, r"$x_i'^{(\ell)}$", va="center", color=ACCENT)
    axes.text(
        5.6,
        -0.95,
        r"position $\ell = 0,\ 1,\ 2,\ \ldots,\ 2L$",
        ha="center",
        va="center",
        color=GREY,
    )
    axes.set_xlim(-1, 12.2)
    axes.set_ylim(-1.3, 5)
    axes.axis("off")


def _metric_sketch(axes: Axes) -> None:
    """The three metrics as lengths and angles of x_j, x'_j, D_j and D_i."""
    origin, clean, perturbed = np.array([0.0, 0.0]), np.array([2.1, 0.25]), np.array([1.75, 1.25])
    arrows = (
        (origin, clean, "0.2"),
        (origin, perturbed, CATEGORIES[4]),
        (clean, perturbed, CATEGORIES[0]),
    )
    other = clean + np.array([0.55, 1.15])
    for start, end, colour in (*arrows, (clean, other, ACCENT)):
        axes.add_patch(
            FancyArrowPatch(
                tuple(start), tuple(end), arrowstyle="-|>", mutation_scale=10, color=colour,
                shrinkA=0, shrinkB=0, linewidth=1.5,
            )
        )  # fmt: skip
    angles = np.linspace(np.arctan2(clean[1], clean[0]), np.arctan2(perturbed[1], perturbed[0]), 30)
    axes.plot(0.75 * np.cos(angles), 0.75 * np.sin(angles), color="0.2", linewidth=0.9)
    axes.text(0.86, 0.32, r"$\varphi$", ha="left", va="center")
    between = np.linspace(np.arctan2(1.15, 0.55), np.arctan2(1.0, -0.35), 30)
    axes.plot(
        clean[0] + 0.45 * np.cos(between),
        clean[1] + 0.45 * np.sin(between),
        color="0.2",
        linewidth=0.9,
    )
    axes.text(clean[0] + 0.04, clean[1] + 0.62, r"$\vartheta$", ha="center", va="center")
    axes.text(1.15, -0.08, "$x_j$", ha="center")
    axes.text(0.7, 0.86, "$x_j'$", color="#A66F00", ha="center")
    axes.text(1.6, 0.72, "$D_j$", color=CATEGORIES[0], ha="center")
    axes.text(2.75, 0.75, "$D_i$", color=ACCENT, ha="center")
    lines = (
        r"$C_\Delta = |D_j|/|x_j|$",
        r"$C_\varphi = 1-\cos\varphi$",
        r"$C_\vartheta = \cos\vartheta$",
    )
    for row, text in enumerate(lines):
        axes.text(0, 2.45 - 0.36 * row, text, ha="left", va="center")
    axes.set_xlim(-0.15, 3.1)
    axes.set_ylim(-0.3, 2.7)
    axes.axis("off")
