"""The direction of the response, read in three ways."""

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from universal_response.figures.fig4 import layer_map_panel, triangle_handles
from universal_response.figures.panels import leak_in_legend
from universal_response.figures.style import style, symbol_mean, tag_all

AGAINST = {
    "theta_source": "against the change of token $i$",
    "theta_perturbation": "against the perturbation made",
    "theta_state": "against the state itself",
}


def directions(dataset: xr.Dataset) -> Figure:
    """The three cosines against dj and position l, as in Fig. 4c.

    Args:
        dataset: results of one model.
    """
    with style():
        figure, grid = plt.subplots(1, 3, figsize=(7.4, 3.9), layout="constrained")
        for axes, (metric, words) in zip(grid, AGAINST.items(), strict=True):
            image = layer_map_panel(axes, dataset, metric, float(dataset.attrs["epsilon0"]))
            figure.colorbar(
                image, ax=axes, location="bottom", shrink=0.9, extend="both",
                label=f"${symbol_mean(metric)}$\n{words}",
            )  # fmt: skip
        figure.legend(
            handles=[*triangle_handles(dataset), leak_in_legend()],
            loc="outside lower center",
            ncols=3,
        )
        tag_all(grid)
    return figure
