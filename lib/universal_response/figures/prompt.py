"""The response matrix of a prompt, with its tokens on the axes."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from universal_response import response
from universal_response.figures.style import (
    colormap,
    is_cosine,
    style,
    symbol,
    tag_all,
)

LABEL_LENGTH = 12  # characters of a token shown on an axis

LABEL_POINTS = 5.0  # smallest distance of two labels that can be read

RATIO_COLOURS = "RdBu_r"  # of finite strength over limit: white where they are the same

# Colours end where some per cent of the smallest and a few of the largest values are cut off.
SHOWN = (2, 99.8)


def prompt_matrix(
    dataset: xr.Dataset, metric: str = "delta", sequence: int | None = None
) -> Figure:
    """Response matrix C(i, j) at l = 2L and epsilon0 with the tokens on both axes.

    Long tokens are cut, characters the font lacks are shown as boxes, and from about 130 tokens on
    only every k-th is named.

    Args:
        dataset: results of a prompt. Where they hold no `token_label`, token ids are shown.
        metric: which matrix.
        sequence: whose tokens are shown where the matrix is a mean over several sequences; if None
            their places in the sequence are shown instead.

    Raises:
        ValueError: no such sequence.
    """
    names = token_names(dataset, sequence)
    matrix = dataset.matrix.sel(metric=metric).values
    if is_cosine(metric):
        norm: Normalize = Normalize(-1, 1)
    else:
        norm = _log_norm(matrix)
    side = min(max(3.0, 0.1 * len(names)), 10.0)
    with style():
        figure, axes = plt.subplots(figsize=(side + 1.9, side + 0.9), layout="constrained")
        image = prompt_panel(axes, matrix, norm, colormap(metric))
        name_tokens(axes, names, side)
        n = dataset.sizes["sequence"]
        mean = f"; mean over {n} sequences" if n > 1 else ""
        axes.set_xlabel("observed token (target $j$)")
        axes.set_ylabel(f"perturbed token (source $i$){mean}")
        figure.colorbar(
            image, ax=axes, shrink=0.8, extend="neither" if is_cosine(metric) else "both",
            label=rf"${symbol(metric)}(i,j)$ at $\varepsilon={dataset.attrs['epsilon0']:g}$",
        )  # fmt: skip
    return figure


def prompt_maps(
    dataset: xr.Dataset, positions: Sequence[int] | None = None, sequence: int | None = None
) -> Figure:
    """C_delta(i, j) at several positions, a row for each, with the tokens on both axes.

    Columns: at epsilon0, divided by it; its exact limit, in the same colours; the ratio of the two.

    Args:
        dataset: results of a prompt, with their maps.
        positions: l of the rows; a third and two thirds of the way and the last if None.
        sequence: as for `prompt_matrix`.

    Raises:
        ValueError: the results hold no maps, or no such position or sequence.
    """
    maps, last = response.limit_maps(dataset), response.last(dataset)
    positions = (last // 3, 2 * last // 3, last) if positions is None else positions
    wrong = [position for position in positions if not 0 <= position <= last]
    if wrong:
        raise ValueError(f"position={wrong[0]}: not measured; use 0 <= position <= {last}")
    names, norm, ratio_norm = token_names(dataset, sequence), *map_norms(maps)
    side = min(max(2.2, 0.06 * len(names)), 6.0)
    divided = rf"$C_\Delta/\varepsilon$ at $\varepsilon={dataset.attrs['epsilon0']:g}$"
    columns = {
        "finite": (divided, norm, colormap("delta")),
        "limit": (r"limit $\varepsilon\to 0$", norm, colormap("delta")),
        "ratio": ("ratio, finite / limit", ratio_norm, mpl.colormaps[RATIO_COLOURS]),
    }
    with style():
        figure, grid = plt.subplots(
            len(positions), 3, layout="constrained", squeeze=False,
            figsize=(3 * side + 1.5, (side + 0.5) * len(positions) + 1.0),
        )  # fmt: skip
        for row, position in zip(grid, positions, strict=True):
            for axes, (name, (title, scale, colours)) in zip(row, columns.items(), strict=True):
                image = prompt_panel(axes, maps[name].sel(position=position).values, scale, colours)
                name_tokens(axes, names, side)
                axes.set_title(rf"$\ell={position}$, {title}")
                bar = grid[:, 2:] if name == "ratio" else grid[:, :2]
                if position == positions[-1] and name != "finite":
                    _bar_below(figure, image, bar, name)
            row[0].set_ylabel("perturbed token $i$")
        for axes in grid[0]:
            axes.set_xlabel("observed token $j$")
        tag_all(grid)
    return figure


def prompt_panel(axes: Axes, matrix: np.ndarray, norm: Normalize, colours: Colormap) -> AxesImage:
    """C(i, j) as a picture with i from above, nothing below the diagonal; tokens on top.

    Args:
        axes: to draw on.
        matrix: (source, target).
        norm: of the colours.
        colours: of the values.
    """
    causal = np.ma.masked_array(matrix, np.tri(len(matrix), k=-1, dtype=bool))
    image = axes.imshow(causal, norm=norm, cmap=colours, origin="upper")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.spines[["left", "bottom"]].set_visible(False)
    return image


def map_norms(maps: xr.Dataset) -> tuple[LogNorm, LogNorm]:
    """Colour scales of maps: one for all positions, strengths and the limit, one for the ratio.

    That of the ratio is as wide on either side of 1. Up to the second attention another token
    responds through the constant of the norm alone: so faintly that it would take half the colours.

    Args:
        maps: of `response.limit_maps`.
    """
    counted = maps.sel(position=response.second_attention_on(maps.limit))
    counted = counted if counted.position.size else maps
    both = counted[["finite", "limit"]].to_array().values
    apart = np.log(counted.ratio.values[np.isfinite(counted.ratio.values)])
    widest = float(np.exp(max(np.percentile(abs(apart), SHOWN[1] - 1), 0.01)))
    return _log_norm(both), LogNorm(1 / widest, widest)


def token_names(dataset: xr.Dataset, sequence: int | None = None) -> list[str]:
    """What stands on the axes: tokens, or places where a matrix is a mean over several sequences.

    Args:
        dataset: results of a prompt. Where they hold no `token_label`, token ids are given.
        sequence: whose tokens; if None of the only one.

    Raises:
        ValueError: no such sequence.
    """
    n, t = dataset.sizes["sequence"], dataset.sizes["token"]
    if sequence is not None and not 0 <= sequence < n:
        raise ValueError(f"sequence={sequence}: not measured; use 0 <= sequence < {n}")
    shown = 0 if n == 1 else sequence
    if shown is None:
        return [str(place) for place in range(t)]
    texts = dataset["token_label" if "token_label" in dataset else "tokens"][shown].values
    return [str(text) for text in texts]


def name_tokens(axes: Axes, names: Sequence[str], side: float) -> None:
    """Tokens along both axes, or every k-th where they would not fit.

    Args:
        axes: a `prompt_panel`.
        names: of `token_names`.
        side: of the panel, inches.
    """
    pitch = 72 * side / len(names)
    every = int(np.ceil(LABEL_POINTS / pitch))
    places = range(0, len(names), every)
    shown = [_clipped(names[place]) for place in places]
    look: dict[str, Any] = {
        "family": "monospace",
        "fontsize": min(0.85 * every * pitch, 8),
        "parse_math": False,
    }
    axes.set_xticks(places, shown, rotation=90, **look)
    axes.set_yticks(places, shown, **look)
    axes.tick_params(length=1.5, pad=1)


def _log_norm(values: np.ndarray) -> LogNorm:
    return LogNorm(*np.percentile(values[values > 0], SHOWN))


def _bar_below(figure: Figure, image: AxesImage, columns: np.ndarray, name: str) -> None:
    look: dict[str, Any] = {"location": "bottom", "aspect": 25, "pad": 0.01, "extend": "both"}
    if name != "ratio":
        label = r"$C_{\Delta}(i,j)/\varepsilon$"
        figure.colorbar(image, ax=columns, shrink=0.5, label=label, **look)
        return
    label, ends = "finite strength over limit", [image.norm.vmin, 1, image.norm.vmax]
    bar = figure.colorbar(image, ax=columns, shrink=0.8, label=label, ticks=ends, **look)
    bar.ax.minorticks_off()
    bar.set_ticklabels([f"{end:.2f}" for end in ends])


def _clipped(token: str) -> str:
    """A token short enough for an axis, in characters that can be drawn there."""
    drawn = "".join(character if _drawable(character) else "□" for character in token)
    return drawn if len(drawn) <= LABEL_LENGTH else drawn[: LABEL_LENGTH - 1] + "…"


def _drawable(character: str) -> bool:
    """Whether any installed font of the monospace family has the character."""
    for family in mpl.rcParams["font.monospace"]:
        try:
            path = mpl.font_manager.findfont(family, fallback_to_default=False)
        except ValueError:
            continue
        if mpl.font_manager.get_font(path).get_char_index(ord(character)):
            return True
    return False
