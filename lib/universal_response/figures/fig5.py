"""Fig. 5: scaling and emergence in several models."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from universal_response import models, response
from universal_response.figures.fig2 import deviation_panel, ratio_handles, ratio_panel
from universal_response.figures.fig4 import layer_map_panel, triangle_handles
from universal_response.figures.panels import leak_in_legend, stack
from universal_response.figures.style import GREY, style, symbol_mean, tag_all


def fig5(datasets: Mapping[str, xr.Dataset], epsilon0: float = 0.03) -> Figure:
    """Fig. 5 (a-f): scaling and emergence of induction, a column for each model.

    Args:
        datasets: results by model name or file, in the order of the columns.
        epsilon0: reference strength of the ratios.
    """
    n = len(datasets)
    with style():
        figure, grid = plt.subplots(
            3, n, figsize=(max(2.5 * n, 5), 7.6), layout="constrained", squeeze=False,
            height_ratios=(1, 1, 1.7),
        )  # fmt: skip
        tag_all(np.array([grid[0], grid[2]]))
        for dataset, (ratio, deviation, layers) in zip(datasets.values(), grid.T, strict=True):
            size = response.architecture_of(dataset)["layers"]
            ratio.set_title(f"{models.title(dataset.attrs['model'])}\n$L={size}$", fontsize=8)
            ratio_panel(ratio, dataset, "delta", epsilon0)
            deviation_panel(deviation, dataset, "delta", epsilon0)
            for axes in (ratio, deviation):
                axes.axvline(epsilon0, color=GREY, linewidth=0.8)
            stack(ratio, deviation, ratio.get_title(loc="left").strip("()"))
            image = layer_map_panel(layers, dataset, "delta", float(dataset.attrs["epsilon0"]))
        figure.colorbar(
            image, ax=grid[2], location="bottom", shrink=0.6, aspect=35,
            label=f"${symbol_mean('delta')}$ / row maximum",
        )  # fmt: skip
        reference = Line2D([], [], color=GREY, linewidth=0.8, label=r"$\varepsilon_0$")
        figure.legend(
            handles=[
                *ratio_handles(grid[0, 0]), reference, *triangle_handles(dataset), leak_in_legend(),
            ],
            loc="outside lower center", ncols=3 if n > 2 else 2,
        )  # fmt: skip
    return figure
