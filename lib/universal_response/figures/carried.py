"""From heads to the response: the exact split, and what is left without some heads."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.heads import CLASS_COLOURS, TITLES
from universal_response.figures.panels import band
from universal_response.figures.style import CATEGORIES, GREY, style, tag_all
from universal_response.heads import summaries

GROUP_COLOURS = {
    **{name: CLASS_COLOURS[name] for name in summaries.CLASSES},
    summaries.OTHER: "0.6",
    summaries.MLPS: CATEGORIES[3],
}


def carried(study: xr.Dataset) -> Figure:
    """Shares of the response by classes of heads along l, their parts, and edited models.

    Args:
        study: of `heads.study_heads`.
    """
    t0 = study.attrs["t0"]
    names = {t0 - 1: "$T_0 - 1$", t0: "$T_0$"}
    with style():
        figure = plt.figure(figsize=(9.6, 11), layout="constrained")
        rows: Any = figure.subfigures(3, 1, height_ratios=(1, 1.35, 0.9))
        grid: dict[str, Axes] = {}
        for row, letters in zip(rows, ("abc", "def", "g"), strict=True):
            grid |= row.subplot_mosaic([list(letters)])
        for letter, distance in zip("abc", (t0 - 1, t0, int(study.compared[0])), strict=True):
            shares_panel(grid[letter], study, distance)
            grid[letter].set_title(rf"$\Delta j =$ {names.get(distance, distance)}")
            grid[letter].sharey(grid["a"])
        grid["a"].set_ylabel("share of the change")
        rows[0].legend(*grid["a"].get_legend_handles_labels(), loc="outside lower center", ncol=5)
        parts_panel(grid["d"], study)
        edited_panel(grid["e"], study, "change")
        edited_panel(grid["f"], study, "lead")
        grid["f"].set_yticklabels([])
        grid["e"].legend(loc="upper left")
        along_panel(grid["g"], study)
        tag_all(np.array(list(grid.values())))
    return figure


def shares_panel(axes: Axes, dataset: xr.Dataset, distance: int) -> None:
    """What classes of heads, the other heads and MLPs hold of D along l; together 1.

    Lines with bands are the limit, dots the finite strength.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
        distance: one of `compared`.
    """
    found = summaries.shares_of_classes(dataset).sel(compared=distance)
    x = np.arange(1, found.sizes["position"])
    for name in found.group.values:
        colour = GROUP_COLOURS[name]
        one = found.sel(group=name).isel(position=x).assign_coords(position=x)
        limit, finite = (one.sel(strength=each) for each in ("limit", "finite"))
        band(axes, limit["mean"], limit.error, "position", colour, TITLES.get(name, name))
        axes.plot(x[::3], finite["mean"][::3], ".", markersize=2.5, color=colour)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set_xlabel(r"position $\ell$")
    axes.set_ylim(-0.25, 1.05)


def parts_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Of every induction head what its values, its pattern and both at once give where it adds.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
    """
    t0 = dataset.attrs["t0"]
    heads = summaries.of_class(dataset, "induction")
    for row, (layer, head) in enumerate(heads):
        one = dataset.share_by_part.sel(strength="finite").isel(layer=layer, head=head)
        for shift, distance, alpha in ((-0.2, t0 - 1, 1.0), (0.2, t0, 0.45)):
            for k, part in enumerate(one.part.values):
                first = row == 0 and distance == t0 - 1
                axes.barh(
                    row + shift + 0.11 * (k - 1), float(one.sel(compared=distance, part=part)), 0.1,
                    color=CATEGORIES[k], alpha=alpha, label=str(part) if first else None,
                )  # fmt: skip
    axes.set_yticks(range(len(heads)), [f"{layer}.{head}" for layer, head in heads])
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_xlabel("share of the change where it is added\n(strong: $T_0-1$, pale: $T_0$)")
    axes.set_ylabel("induction head")
    axes.legend(loc="best", title="part")


def edited_panel(axes: Axes, dataset: xr.Dataset, shown: str) -> None:
    """The response of edited models: at T0 - 1 against the whole one, or its lead over T0.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
        shown: `change` or `lead`.
    """
    if shown == "change":
        found = summaries.edited_change(dataset)
        axes.set_xlabel(r"$\log_{10}$ $C_\Delta(T_0-1)$ against the whole model")
    else:
        found = summaries.edited_lead(dataset)
        axes.set_xlabel(r"$\log_{10}$ $C_\Delta(T_0-1) / C_\Delta(T_0)$")
    names = found.condition.values
    for k, strength in enumerate(("limit", "finite")):
        one = found.sel(strength=strength)
        axes.errorbar(
            one["mean"], np.arange(len(names)) + 0.24 * (k - 0.5), xerr=one.error, fmt="os"[k],
            color=CATEGORIES[k], markersize=4, elinewidth=0.8, label=strength,
        )  # fmt: skip
    axes.set_yticks(range(len(names)), [str(name).replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.grid(axis="y", color="0.93", linewidth=0.8)


def along_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """The response at T0 - 1 of edited models against the whole one along l, in the limit.

    Args:
        axes: to draw on.
        dataset: of `heads.study_heads`.
    """
    found = summaries.edited_along(dataset).sel(strength="limit")
    found = found.assign_coords(position=np.arange(found.sizes["position"]))
    colours = {
        **{name: CATEGORIES[k + 3] for k, name in enumerate(summaries.cut_edges(dataset))},
        "previous_token ablated": CLASS_COLOURS["previous_token"],
        "induction ablated": CLASS_COLOURS["induction"],
        summaries.RANDOM: GREY,
    }
    for name, colour in colours.items():
        one = found.sel(condition=name)
        band(axes, one["mean"], one.error, "position", colour, name.replace("_", " "))
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel=r"position $\ell$")
    axes.set_ylabel("$\\log_{10}$ $C_\\Delta(T_0-1)$\nagainst the whole model")
    axes.legend(loc="lower left", fontsize=7)
