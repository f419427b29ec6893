"""Studies of heads -> scripts with the data of the explorer of heads.

As those of `companion.explorer`, with `book/_static/explorer_heads.js` to read them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr

from universal_response import figures
from universal_response.companion import explorer
from universal_response.heads import summaries

NAME = "explorer-heads"
INDEX = f"{NAME}-index.js"

# Of the data of a model, what is packed.
PACKED = ("measured", "error", "unrepeated", "attention", "share", "carried", "response")

# Numbers of every head that a map can show: scores and effects by variable, shares by `compared`.
SCORES = {
    "previous_token": "previous-token score",
    "duplicate_token": "duplicate-token score",
    "induction": "induction score",
    "prefix_matching_gapped": "prefix matching, with a gap",
}
EFFECTS = {"ablation_effect": "ablation effect", "attribution": "direct attribution"}
SHARES = {
    "share_before": "share at Δj = T₀ − 1",
    "share_same": "share at Δj = T₀",
    "share_control": "share at the control distance",
}

# A ring of its own form for each class: colours alone do not tell them apart for everyone.
SYMBOLS = {"induction": "circle", "previous_token": "square", "duplicate_token": "diamond"}


def scripts(folder: str | Path) -> dict[str, str]:
    """Scripts by file name, for every registered model of which a folder has heads-MODEL.nc.

    Without such a file there is still a script that names no model, and the page says so.
    """
    found = explorer.results_of_models(folder, before="heads-", kind="heads")
    return explorer.as_scripts(
        NAME, index(found), {name: model_data(each) for name, each in found.items()}
    )


def index(datasets: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """What the explorer has to know before it loads a model: titles, sizes, measures, looks.

    Args:
        datasets: studies by name of the model; the first is shown first.
    """
    before, same = _compared_colours()
    beside: dict[str, Any] = {"bottom": 52, "left": 76, "hovermode": "x"}
    return {
        "models": explorer.titles(datasets),
        "packed": PACKED,
        "sizes": {name: _size(dataset) for name, dataset in datasets.items()},
        "measures": [
            *(_measure(name, "attention score", label) for name, label in SCORES.items()),
            *(_measure(name, "logit difference", label) for name, label in EFFECTS.items()),
            *(_measure(name, "share of the response", label) for name, label in SHARES.items()),
        ],
        "scales": {
            "plain": explorer.colour_scale(mpl.colormaps["viridis"]),
            "signed": explorer.colour_scale(mpl.colormaps["RdBu_r"]),
        },
        "classes": {
            name: {"title": name.replace("_", " "), "symbol": SYMBOLS[name],
                   "colour": figures.CLASS_COLOURS[name]}
            for name in summaries.CLASSES
        },
        "colours": {
            "other": mpl.colors.to_hex(figures.GREY),
            "compared": [before, same, mpl.colors.to_hex(figures.GREY)],
            # Others than those of distances.
            "parts": figures.CATEGORIES[5:2:-1],
        },
        "layouts": {
            "map": explorer.layout("head", "layer", bottom=118),
            "attention": explorer.layout("offset q − k", "attention", **beside),
            "share": explorer.layout("position ℓ", "share", **beside),
            "carried": explorer.layout("distance Δj", "", **beside, barmode="relative"),
            "colorbar": explorer.COLORBAR,
        },
    }  # fmt: skip


def model_data(dataset: xr.Dataset) -> dict[str, Any]:
    """All that the explorer draws of one model, ready for JSON.

    Returns:
        Sizes, names along the axes, marks at offsets and distances for Plotly, and as packed
        numbers (`explorer.pack`), those of the dataset bit for bit:
        `measured` and its standard `error` (measure, layer, head) of scores and effects;
        `unrepeated` (score, layer, head), of classes; `attention` (layer, head, offset);
        `share` (strength, compared, position, layer, head);
        `carried` (strength, distance, layer, head, part) at the last position; and
        `response` (strength, distance) there.
    """
    t0 = int(dataset.attrs["t0"])
    (control,) = set(dataset.compared.values.tolist()) - {t0 - 1, t0}
    compared = [t0 - 1, t0, control]
    before, same = _compared_colours()
    previous = figures.CLASS_COLOURS["previous_token"]
    return {
        "t0": t0,
        "epsilon": float(dataset.attrs["epsilon"]),
        "least": float(dataset.attrs["least_score"]),
        "compared": compared,
        "strength": dataset.strength.values.tolist(),
        "distance": dataset.distance.values.tolist(),
        "part": dataset.part.values.tolist(),
        "position": explorer.position_names(dataset.sublayer.values, dataset.position_layer.values),
        # Of every layer the position behind its attention, where its heads add.
        "added": [
            summaries.behind_attention(dataset, layer) for layer in range(dataset.sizes["layer"])
        ],
        "classes": {
            name: [list(head) for head in summaries.of_class(dataset, name)]
            for name in summaries.CLASSES
        },
        "marks": {
            "offsets": [
                explorer.mark_above(1, 0, "1", previous),
                explorer.mark_above(t0 - 1, -30, explorer.BEFORE, before),
                explorer.mark_above(t0, 20, explorer.SAME, same),
            ],
            "distances": [
                explorer.mark_above(t0 - 1, -30, explorer.BEFORE, before),
                explorer.mark_above(t0, 26, explorer.SAME, same),
            ],
        },
        **{name: explorer.pack(each.values) for name, each in _packed(dataset, compared).items()},
    }


def _packed(dataset: xr.Dataset, compared: list[int]) -> dict[str, xr.DataArray]:
    scores, errors = dataset.attention_score, dataset.attention_score_sem
    classes = [name for name in SCORES if name in scores.score]
    repeated = {name: scores.sel(score=name, input="repeated") for name in classes}
    spread = {name: errors.sel(score=name, input="repeated") for name in classes}
    measured = repeated | {name: dataset[name] for name in ("prefix_matching_gapped", *EFFECTS)}
    unknown = dataset.prefix_matching_gapped * np.nan
    spread |= {"prefix_matching_gapped": unknown} | {
        name: dataset[f"{name}_sem"] for name in EFFECTS
    }
    found = {
        "measured": _stacked(measured),
        "error": _stacked(spread),
        "unrepeated": scores.sel(input="unrepeated", score=classes),
        "attention": dataset.attention_by_offset,
        "share": dataset.share.sel(compared=compared),
        "carried": dataset.carried_last,
        "response": dataset.response.isel(position=-1),
    }
    order = ("strength", "compared", "distance", "position", "measure", "score", "layer", "head",
             "offset", "part")  # fmt: skip
    return {name: each.transpose(*order, missing_dims="ignore") for name, each in found.items()}


def _stacked(arrays: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """One below the other, in the order of the measures."""
    every = [arrays[name].drop_vars(("score", "input"), errors="ignore") for name in arrays]
    return xr.concat(every, xr.Variable("measure", list(arrays)))


def _measure(name: str, group: str, label: str) -> dict[str, Any]:
    """What the explorer says of a number of every head, and how it colours it."""
    unit = {"attention score": "mean attention", "logit difference": "logits"}.get(group, "share")
    signed = group != "attention score"
    return {"name": name, "label": label, "group": group, "unit": unit, "signed": signed}


def _size(dataset: xr.Dataset) -> dict[str, Any]:
    """Numbers of layers and heads, and the head with the largest induction score."""
    score = dataset.attention_score.sel(score="induction", input="repeated").transpose(
        "layer", "head"
    )
    start = [int(each) for each in np.unravel_index(score.values.argmax(), score.shape)]
    return {"layers": dataset.sizes["layer"], "heads": dataset.sizes["head"], "start": start}


def _compared_colours() -> tuple[str, str]:
    """Of T0 - 1 and T0: those of the classes whose heads look there."""
    return figures.CLASS_COLOURS["induction"], figures.CLASS_COLOURS["duplicate_token"]
