"""The finding in one picture."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from universal_response import response
from universal_response.figures.fig4 import COLOURS, layer_map_panel
from universal_response.figures.panels import leak_in_legend
from universal_response.figures.style import style, symbol_mean

# By offset from T0 - 1 and the end of the text that is there.
WORDS = {(0, "right"): "the token before  ", (1, "left"): "  same token"}


def peak_shift(datasets: Mapping[str, xr.Dataset]) -> Figure:
    """The finding in one picture: the peak at dj = T0 early in a model, at T0 - 1 at its end.

    One map a model: C_delta around dj = T0 at every position, each row divided by its maximum.

    Args:
        datasets: results by title.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(datasets), figsize=(3.7 * len(datasets), 3.9), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for axes, (name, dataset) in zip(grid[0], datasets.items(), strict=True):
            epsilon0 = float(dataset.attrs["epsilon0"])
            image = layer_map_panel(axes, dataset, "delta", epsilon0)
            axes.set_title(name, pad=22)
            peak = response.peak_distance(dataset)
            for (offset, side), words in WORDS.items():
                axes.annotate(
                    words, (peak + offset, 1.02), xycoords=axes.get_xaxis_transform(),
                    ha=side, fontsize=8, color=COLOURS[offset],
                )  # fmt: skip
            axes.set_xlabel(r"distance $\Delta j$ from the weakened token")
        figure.colorbar(
            image, ax=grid[0], label=f"response ${symbol_mean('delta')}$ / row maximum", aspect=30
        )
        figure.legend(handles=[leak_in_legend()], loc="outside lower center")
    return figure
