"""Which heads and MLPs of a model that adds cause each digit of the result, and where."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from universal_response.figures.style import style, tag_all


def adder_effects(study: xr.Dataset) -> Figure:
    """Effect of every node on every digit of sums and differences: maps of components by place.

    Args:
        study: of `arithmetic.study_arithmetic`.
    """
    operations, answers = study.operation.values, range(study.sizes["answer"])
    reach = float(abs(study.logit_effect).max())
    with style():
        figure, grid = plt.subplots(
            len(operations), len(answers), figsize=(9.6, 6.4), layout="constrained",
            sharex=True, sharey=True, squeeze=False,
        )  # fmt: skip
        for row, operation in zip(grid, operations, strict=True):
            for axes, answer in zip(row, answers, strict=True):
                of = study.logit_effect.sel(operation=operation).isel(answer=answer)
                drawn = node_map(axes, of, reach)
                axes.set_title(f"$r_{answer}$ of {operation}", fontsize=9)
                if not of.notnull().any():
                    axes.text(0.5, 0.5, "always 0", transform=axes.transAxes, ha="center")
        for axes in grid[-1]:
            axes.set_xlabel("place that is patched")
        figure.colorbar(drawn, ax=grid, label="effect on the logit difference, half", shrink=0.7)
        tag_all(grid)
    return figure


def adder_routes(studies: Mapping[str, xr.Dataset], answer: int = 0) -> Figure:
    """The same for one digit of sums, in several models.

    Args:
        studies: of `arithmetic.study_arithmetic`, by title.
        answer: digit of the result, 0 for the units.
    """
    maps = {
        title: study.logit_effect.sel(operation="sums").isel(answer=answer)
        for title, study in studies.items()
    }
    reach = max(float(abs(each).max()) for each in maps.values())
    with style():
        figure, grid = plt.subplots(
            1, len(maps), figsize=(9.6, 3.4), layout="constrained", sharey=True, squeeze=False
        )
        for axes, (title, effect) in zip(grid[0], maps.items(), strict=True):
            drawn = node_map(axes, effect, reach)
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("place that is patched")
        figure.colorbar(drawn, ax=grid, label=f"effect on $r_{answer}$")
        tag_all(grid)
    return figure


def node_map(axes: Axes, values: xr.DataArray, reach: float) -> AxesImage:
    """A number of every node: a row for each head and MLP, the first layer below.

    Args:
        axes: to draw on.
        values: (layer, component, place), in any order.
        reach: end of the colours, on both sides.
    """
    rows = values.transpose("layer", "component", "place")
    names = component_names(values)
    drawn = axes.imshow(
        rows.values.reshape(len(names), -1), cmap="RdBu_r", aspect="auto", origin="lower",
        norm=SymLogNorm(1, vmin=-reach, vmax=reach),
    )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    places_along(axes, values.place.values)
    axes.axhline(values.sizes["component"] - 0.5, color="white", linewidth=1.5)
    return drawn


def component_names(values: xr.DataArray) -> list[str]:
    """Layer and head, or MLP and layer."""
    heads = [str(name) for name in values.component.values]
    return [
        f"MLP {layer}" if name == "mlp" else f"{layer}.{name.removeprefix('head ')}"
        for layer in range(values.sizes["layer"])
        for name in heads
    ]


def place_name(place: str) -> str:
    """Of a digit with its place below."""
    place = str(place)
    digit = place[-1].isdecimal()
    return f"${place[0]}_{place[1:]}$" if digit else {"op": r"$\pm$", "=": "$=$"}[place]


def places_along(axes: Axes, places: np.ndarray) -> None:
    """Names of places along x."""
    axes.set_xticks(range(len(places)), [place_name(p) for p in places])
