"""The response matrix of a prompt, with its tokens on the axes."""

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from universal_response.figures.style import (
    colormap,
    is_cosine,
    style,
    symbol,
)

LABEL_LENGTH = 12  # characters of a token shown on an axis

LABEL_POINTS = 5.0  # smallest distance of two labels that can be read


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
    n, t = dataset.sizes["sequence"], dataset.sizes["token"]
    if sequence is not None and not 0 <= sequence < n:
        raise ValueError(f"sequence={sequence}: not measured; use 0 <= sequence < {n}")
    shown = 0 if n == 1 else sequence
    matrix = dataset.matrix.sel(metric=metric).values
    causal = np.ma.masked_array(matrix, np.tri(t, k=-1, dtype=bool))
    if is_cosine(metric):
        norm: Normalize = Normalize(-1, 1)
    else:
        norm = LogNorm(*np.percentile(causal.compressed()[causal.compressed() > 0], (2, 99.8)))
    side = min(max(3.0, 0.1 * t), 10.0)
    pitch = 72 * side / t
    every = int(np.ceil(LABEL_POINTS / pitch))
    places = np.arange(0, t, every)
    if shown is None:
        names = [str(place) for place in places]
    else:
        texts = dataset["token_label" if "token_label" in dataset else "tokens"][shown].values
        names = [_clipped(str(text)) for text in texts[places]]
    look: dict[str, Any] = {
        "family": "monospace",
        "fontsize": min(0.85 * every * pitch, 8),
        "parse_math": False,
    }
    with style():
        figure, axes = plt.subplots(figsize=(side + 1.9, side + 0.9), layout="constrained")
        image = axes.imshow(causal, norm=norm, cmap=colormap(metric), origin="upper")
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xticks(places, names, rotation=90, **look)
        axes.set_yticks(places, names, **look)
        axes.tick_params(length=1.5, pad=1)
        axes.spines[["left", "bottom"]].set_visible(False)
        mean = f"; mean over {n} sequences" if n > 1 else ""
        axes.set_xlabel("observed token (target $j$)")
        axes.set_ylabel(f"perturbed token (source $i$){mean}")
        figure.colorbar(
            image, ax=axes, shrink=0.8, extend="neither" if is_cosine(metric) else "both",
            label=rf"${symbol(metric)}(i,j)$ at $\varepsilon={dataset.attrs['epsilon0']:g}$",
        )  # fmt: skip
    return figure


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
