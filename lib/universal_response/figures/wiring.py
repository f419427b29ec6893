"""How the heads of induction are wired."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response.figures.heads import CLASS_COLOURS, head_map, mark_classes
from universal_response.figures.style import CATEGORIES, GREY, style, tag_all
from universal_response.heads import summaries

# How many senders are drawn of each receiver, and from what part of the largest they are named.
SENDERS = 6
NAMED = 0.1


def wiring(study: xr.Dataset) -> Figure:
    """Edges into induction heads, by cutting them, from data and from weights.

    One column a layer with induction heads, named after the strongest of them.

    Args:
        study: of `heads.study_heads`.

    Raises:
        ValueError: the model has no induction head behind its first layer.
    """
    names = summaries.strongest_receivers(study)
    if not names:
        raise ValueError(
            "study: no induction head behind the first layer; nothing is wired to draw"
        )
    with style():
        figure, grid = plt.subplots(
            3, len(names), figsize=(0.6 + 2.9 * len(names), 8.2), layout="constrained",
            squeeze=False, height_ratios=(1.3, 1, 1),
        )  # fmt: skip
        keys = study.edge_score.sel(through="keys")
        reach = float(abs(keys.sel(receiver=names)).max())
        for column, name in zip(grid.T, names, strict=True):
            one = study.sel(receiver=name)
            drawn = head_map(column[0], keys.sel(receiver=name), -reach, reach, "RdBu_r")
            mark_classes(column[0], study)
            column[0].set_title(f"into {name}")
            through_panel(column[1], one)
            composition_panel(column[2], one, study)
        figure.colorbar(
            drawn, ax=grid[0, :], label="change of the induction score\nwith the edge to keys cut"
        )
        grid[1, 0].legend(loc="lower left")
        tag_all(grid)
    return figure


def through_panel(axes: Axes, one: xr.Dataset) -> None:
    """Effect of cutting an edge through keys, queries and values, of the strongest senders.

    Args:
        axes: to draw on.
        one: a study, of one receiver.
    """
    effect, error = one.edge_score, one.edge_score_sem
    senders = summaries.ranked(effect.sel(through="keys"))[:SENDERS]
    for k, (through, colour) in enumerate(
        zip(("keys", "queries", "values"), CATEGORIES, strict=False)
    ):
        at = np.arange(len(senders)) + 0.27 * (k - 1)
        values = [effect.sel(through=through, layer=layer, head=head) for layer, head in senders]
        errors = [error.sel(through=through, layer=layer, head=head) for layer, head in senders]
        axes.barh(at, values, 0.25, xerr=errors, color=colour, label=through, error_kw={"lw": 0.7})
    axes.set_yticks(range(len(senders)), [f"{layer}.{head}" for layer, head in senders])
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="change of the induction score", ylabel="sender")


def composition_panel(axes: Axes, one: xr.Dataset, dataset: xr.Dataset) -> None:
    """K-composition from weights against what of the score at T0 - 1 a head gives, in data.

    Args:
        axes: to draw on.
        one: the study, of one receiver.
        dataset: the study, for the classes of heads.
    """
    x, y = one.k_composition, one.key_score
    for name, colour in CLASS_COLOURS.items():
        mine = (dataset.head_class == name) & x.notnull()
        axes.plot(x.where(mine).values.ravel(), y.where(mine).values.ravel(), ".", color=colour)
    for layer, head in summaries.ranked(-y)[:3]:
        at = {"layer": layer, "head": head}
        if float(y.sel(at)) < NAMED * float(y.max()):
            continue
        axes.annotate(
            f"{layer}.{head}", (float(x.sel(at)), float(y.sel(at))), xytext=(3, 2),
            textcoords="offset points", fontsize=7,
        )  # fmt: skip
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(xlabel="K-composition of weights\nless that by chance", ylabel="part of the score")
