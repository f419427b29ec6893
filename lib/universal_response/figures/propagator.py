"""The propagator: where in the model a change at a token turns into one at a later token."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import CenteredNorm, LogNorm, Normalize
from matplotlib.figure import Figure

from universal_response.figures.panels import band
from universal_response.figures.style import CATEGORIES, EMPTY, GREY, style, tag_all
from universal_response.propagator import summaries

DECADES = 4  # of the response that are shown; what is weaker has leaked through a norm's constant
FACTOR = 3  # decades of a ratio to either side


def propagator(
    studies: Mapping[str, xr.Dataset],
    heads: Mapping[str, Mapping[str, Sequence[int]]] | None = None,
) -> Figure:
    """For each model the response at the end by where the change is made, and maps from l' to l.

    Args:
        studies: of `propagator.measure_propagator`, by title.
        heads: of some of them the layers that hold heads of each class, marked at the states that
            these heads read.
    """
    with style():
        figure, grid = plt.subplots(
            len(studies), 3, figsize=(10.4, 3.3 * len(studies)), layout="constrained", squeeze=False
        )
        for axes, (title, study) in zip(grid, studies.items(), strict=True):
            _row(figure, axes, study)
            axes[0].set_title(title, loc="right")
            mark_heads(axes[0], (heads or {}).get(title, {}))
            axes[0].legend(loc="lower left", fontsize="x-small")
        tag_all(grid)
    return figure


def _row(figure: Figure, axes: np.ndarray, study: xr.Dataset) -> None:
    t0 = int(study.attrs["t0"])
    end_panel(axes[0], study)
    response = summaries.response_by_distance(study)
    drawn = response_panel(axes[1], response.sel(compared=t0 - 1))
    figure.colorbar(drawn, ax=axes[1], label=r"$\overline{C}_\Delta(T_0-1)$", extend="min")
    near = response.sel(compared=[t0 - 1, t0]).max("compared")
    ratio = summaries.ratio(study, t0)["mean"] / np.log(10)
    drawn = ratio_map_panel(axes[2], ratio.where(near > near.max() / 10**DECADES))
    label = r"$\log_{10}$ of $C_\Delta(T_0-1)$ / $C_\Delta(T_0)$"
    figure.colorbar(drawn, ax=axes[2], label=label, extend="both")


def end_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """C(l' -> 2L, dj) by l', at T0 - 1, at T0 and at a distance of no meaning, with errors."""
    t0 = int(dataset.attrs["t0"])
    found = summaries.at_end(dataset)
    names = {t0 - 1: "$T_0-1$", t0: "$T_0$"}
    for distance, colour in zip(
        found.compared.values, (CATEGORIES[1], CATEGORIES[2], GREY), strict=True
    ):
        one = found.sel(compared=distance)
        one = one.where(one["mean"] > 0)
        label = rf"$\Delta j$ = {names.get(int(distance), int(distance))}"
        band(axes, one["mean"], one.error, "perturbed_position", colour, label)
    largest = float(found["mean"].max())
    axes.set(
        yscale="log", xlabel=r"perturbed at $\ell'$", ylim=(largest / 10**DECADES, 10 * largest)
    )
    axes.set_ylabel(r"$\overline{C}_\Delta(\ell' \to 2L)$")


def mark_heads(axes: Axes, layers: Mapping[str, Sequence[int]]) -> None:
    """A row of triangles for each class of heads, at the states l' = 2 layer that they read."""
    for row, (name, its_layers) in enumerate(layers.items()):
        axes.plot(
            [2 * layer for layer in its_layers], [0.96 - 0.06 * row] * len(its_layers), "v",
            color=CATEGORIES[3 + row], markersize=4, transform=axes.get_xaxis_transform(),
            label=f"{name.replace('_', ' ')} heads read",
        )  # fmt: skip


def response_panel(axes: Axes, response: xr.DataArray) -> ScalarMappable:
    """C(l' -> l) on a logarithmic scale, (perturbed_position, position)."""
    largest = float(response.max())
    norm = LogNorm(largest / 10**DECADES, largest)
    return _map(axes, response.where(response > 0), norm, "viridis")


def ratio_map_panel(axes: Axes, ratio: xr.DataArray) -> ScalarMappable:
    """A logarithm of a ratio, zero in the middle, (perturbed_position, position)."""
    return _map(axes, ratio, CenteredNorm(halfrange=FACTOR), "RdBu_r")


def _map(axes: Axes, values: xr.DataArray, norm: Normalize, colours: str) -> ScalarMappable:
    image = values.transpose("perturbed_position", "position").values
    drawn = axes.imshow(
        image, origin="lower", norm=norm,
        cmap=plt.colormaps[colours].with_extremes(bad=EMPTY),
        extent=(-0.5, image.shape[1] - 0.5, -0.5, image.shape[0] - 0.5),
    )  # fmt: skip
    axes.set(xlabel=r"measured at $\ell$", ylabel=r"perturbed at $\ell'$")
    return drawn
