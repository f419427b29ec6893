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
        figure = plt.figure(figsize=(7.4, 6.6), layout="constrained")
        rows = figure.add_gridspec(3, 3, height_ratios=(0.85, 1.55, 1.7))
        _sequence_strip(figure.add_subplot(rows[0, :]), dataset, source)
        _residual_stream_sketch(figure.add_subplot(rows[1, :2]))
        _metric_sketch(figure.add_subplot(rows[1, 2]))
        for column, metric in enumerate(("delta", "phi", THETA)):
            axes = figure.add_subplot(rows[2, column])
            source_panel(axes, dataset, metric, source)
            tag(axes, "abc"[column])
        handles = axes.get_legend_handles_labels()[0]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def source_panel(axes: Axes, dataset: xr.Dataset, metric: str, source: int) -> None:
    """Response of every later token to one source: a row of the matrix of Fig. 2 (Fig. 1a-c).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
        source: the perturbed token position i, in the first block.
    """
    t0 = int(dataset.attrs["t0"])
    row = dataset.matrix.sel(metric=metric).isel(source=source).values
    target = np.arange(source, 2 * t0)
    axes.plot(target, row[source:], color="0.35", marker=".", markersize=3, linewidth=0.9,
              label="response")  # fmt: skip
    for j, (colour, name, linestyle, marker) in _marked(source, t0).items():
        axes.axvline(j, color=colour, linestyle=linestyle, linewidth=0.9, zorder=0)
        axes.plot(j, row[j], color=colour, marker=marker, linestyle=linestyle, markersize=5,
                  label=f"$j={name}$")  # fmt: skip
    if metric != THETA:
        log_scale(axes)
    axes.set_xlabel("token position $j$")
    axes.set_ylabel(f"${symbol(metric)}(i={source},\\,j)$")


def _marked(source: int, t0: int) -> dict[int, tuple[str, str, str, str]]:
    """Targets with marks of their own, with colour, name, line and marker."""
    return {
        source + t0 - 1: (CATEGORIES[0], "i+T_0-1", "--", "o"),
        source + t0: (ACCENT, "i+T_0", ":", "s"),
    }


def _sequence_strip(axes: Axes, dataset: xr.Dataset, source: int) -> None:
    """The repeated sequence, a block a row: a cell a token, the same colour for the same token."""
    t0 = int(dataset.attrs["t0"])
    for j, colour in enumerate(_token_colours(dataset.tokens[0].values)):
        row, column = divmod(j, t0)
        cell = (column, -1.5 * row)
        axes.add_patch(Rectangle(cell, 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
    labels = {j: (colour, f"$j={name}$") for j, (colour, name, *_) in _marked(source, t0).items()}
    for j, (colour, words) in {source: (ACCENT, "perturbed token $i$"), **labels}.items():
        row, column = divmod(j, t0)
        box = Rectangle(
            (column, -1.5 * row - 0.2), 1, 1.4, fill=False, edgecolor=colour, linewidth=2
        )
        axes.add_patch(box)
        # Of two marks side by side one is named to the left, one to the right.
        side = np.sign(j - source - t0 + 0.5) if j != source else 0
        axes.annotate(
            words, (column + 0.5, 1.2 if row == 0 else -1.7),
            (column + 0.5 + 0.03 * t0 * side, 1.85 - 4.2 * row),
            ha={0: "center", 1: "left", -1: "right"}[side], va="center",
            color=colour, arrowprops={"arrowstyle": "->", "color": colour},
        )  # fmt: skip
    for row, words in enumerate((f"$T_0={t0}$ tokens", "once more")):
        axes.text(-0.02 * t0, 0.5 - 1.5 * row, words, ha="right", va="center", color=GREY)
    axes.set_xlim(-0.16 * t0, 1.1 * t0)
    axes.set_ylim(-2.9, 2.3)
    axes.axis("off")


def _token_colours(tokens: np.ndarray) -> np.ndarray:
    """A colour (red, green, blue, opacity) for each token: equal ones alike, neighbours far apart.

    Args:
        tokens: ids (token,).
    """
    _, first, which = np.unique(tokens, return_index=True, return_inverse=True)
    rank = first.argsort().argsort()[which]  # in the order of appearance
    golden = (np.sqrt(5) - 1) / 2  # its multiples, without whole numbers, never come close
    return mpl.colormaps["viridis"](rank * golden % 1)


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
