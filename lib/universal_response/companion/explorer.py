"""Results -> scripts with the data of the interactive explorer; a browser needs no server for them.

A page opened from a folder may not fetch files, but it may load scripts. Each model becomes one
script that a browser loads when the model is chosen; a small script names the models, the metrics
and the look of the panels. `book/_static/explorer.js` reads them and calls Plotly. What the
explorer of heads (`companion.explorer_heads`) needs as well is public here.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr

from universal_response import figures, measurement, models, response
from universal_response.metrics import METRICS

NAME = "explorer"
INDEX = f"{NAME}-index.js"

# Of the data of a model, what is packed.
PACKED = ("response", "error", "matrix")

ORDER = ("metric", "epsilon", "position", "delta_j")

# Bits kept of standard errors, of which two digits are shown: 3 %.
ERROR_BITS = 4

# Symbols of the metrics, as they are written outside formulas.
GREEK = {r"\Delta": "Δ", r"\varphi": "φ", r"\vartheta": "ϑ"}
SUBLAYER = {"attention": "attention of layer", "mlp": "MLP of layer", "block": "layer"}
BEFORE, SAME = "T<sub>0</sub> − 1", "T<sub>0</sub>"
ARROW = {"arrowhead": 2, "arrowwidth": 1.5}
FAINT = "rgba(128, 128, 128, 0.3)"  # grid lines on white as on black
COLORBAR = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "ypad": 2,
            "xpad": 0, "thickness": 12, "ticks": "outside"}  # fmt: skip


def scripts(folder: str | Path) -> dict[str, str]:
    """Scripts by file name, for every registered model that has a results file in a folder.

    A results file belongs to a model if it is called after it; files on other inputs or number
    types are not shown.

    Raises:
        ValueError: the folder holds no results of a registered model.
    """
    found = results_of_models(folder)
    if not found:
        raise ValueError(
            f"folder={folder}: no results file is called after a registered model; "
            "measure one with `universal-response measure`"
        )
    shown = of_common_strengths(found)
    return as_scripts(NAME, index(shown), {name: model_data(each) for name, each in shown.items()})


def of_common_strengths(found: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Only strengths that all models were measured at: a place of the slider is one strength."""
    common = set.intersection(*(set(each.epsilon.values.tolist()) for each in found.values()))
    return {name: each.sel(epsilon=sorted(common)) for name, each in found.items()}


def results_of_models(
    folder: str | Path, before: str = "", kind: str = "response"
) -> dict[str, xr.Dataset]:
    """By registered model the results file that is called after it, for those that have one.

    Args:
        folder: of results files.
        before: what stands before the model in a file's name.
        kind: what the files hold.
    """
    paths = {name: Path(folder) / f"{before}{name}.nc" for name in models.REGISTRY}
    return {
        name: measurement.load_results(path, kind) for name, path in paths.items() if path.is_file()
    }


def as_scripts(
    explorer: str, about: Mapping[str, Any], of_models: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Scripts by file name: `EXPLORER-index.js`, and `EXPLORER-MODEL.js` for each model.

    Args:
        explorer: name of the explorer.
        about: what it has to know before it loads a model.
        of_models: data by model.
    """
    start = {"scripts": explorer, "data": {}, **about}
    written = {f"{explorer}-index.js": f"window.EXPLORER = {as_json(start)};\n"}
    for name, data in of_models.items():
        written[f"{explorer}-{name}.js"] = f"EXPLORER.data[{as_json(name)}] = {as_json(data)};\n"
    return written


def index(datasets: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """What the explorer has to know before it loads a model: titles, metrics, looks.

    Args:
        datasets: results by name of the model; the first is shown first.
    """
    metrics = dict.fromkeys(str(name) for each in datasets.values() for name in each.metric.values)
    return {
        "models": titles(datasets),
        "packed": PACKED,
        "metrics": {name: _metric(name) for name in metrics},
        "colours": {
            "response": {"light": figures.CATEGORIES[0], "dark": figures.CATEGORIES[5]},
            "accent": figures.ACCENT,
            "empty": mpl.colors.to_hex(figures.EMPTY),
        },
        "layouts": {
            "curve": layout("distance Δj", "", bottom=52, hovermode="x"),
            "map": layout("distance Δj", "position ℓ", bottom=118),
            "matrix": layout("observed token j", "perturbed token i", bottom=118),
            "colorbar": COLORBAR,
        },
    }


def titles(datasets: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """How figures call each model."""
    return {name: models.title(str(each.attrs["model"])) for name, each in datasets.items()}


def model_data(dataset: xr.Dataset) -> dict[str, Any]:
    """All that the explorer draws of one model, ready for JSON.

    Returns:
        Names and numbers along the axes, marks at T0 - 1 and T0 for Plotly, and as packed numbers
        (`pack`) `response`, `error` (metric, epsilon, position, delta_j) and `matrix` (metric,
        source, target). Responses and matrix are those of the dataset bit for bit, errors are
        rounded to `ERROR_BITS`.
    """
    t0, t = int(dataset.attrs["t0"]), dataset.sizes["delta_j"]
    errors = dataset.response_sem.transpose(*ORDER).values.astype(np.float32)
    return {
        "t0": t0,
        "epsilon0": float(dataset.attrs["epsilon0"]),
        "epsilon": [float(epsilon) for epsilon in dataset.epsilon.values],
        "strengthColours": [
            mpl.colors.to_hex(colour) for _, colour in figures.epsilon_colours(dataset)
        ],
        "metric": [str(name) for name in dataset.metric.values],
        "position": position_names(dataset.sublayer.values, dataset.layer.values),
        "distances": {"all": list(range(t)), "near": response.window(t0).tolist()},
        "marks": _marks(t0, t),
        "response": pack(dataset.response.transpose(*ORDER).values),
        "error": pack(measurement.leading_bits(errors, ERROR_BITS)),
        "matrix": pack(dataset.matrix.transpose("metric", "source", "target").values),
    }


def pack(values: np.ndarray) -> str:
    """float32 numbers as text: first bytes of all, then second bytes and so on; deflate; base64.

    Sorted by byte, what rounding has set to zero costs next to nothing.
    """
    planes = np.ascontiguousarray(values, dtype=">f4").reshape(-1, 1).view(np.uint8).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def _metric(name: str) -> dict[str, Any]:
    return {
        "label": f"{name}: {METRICS[name].meaning}",
        "symbol": GREEK[figures.SYMBOL[name]],
        "power": response.POWER[name],
        "colours": colour_scale(figures.colormap(name)),
    }


def colour_scale(colormap: mpl.colors.Colormap) -> list[list[float | str]]:
    """A colour map for Plotly."""
    return [[float(at), mpl.colors.to_hex(colormap(at))] for at in np.linspace(0, 1, 17)]


def position_names(sublayers: Iterable[str], layers: Iterable[int]) -> list[str]:
    """What has just been added at each position l: 'attention of layer 20', counted from 0."""
    return [
        f"{SUBLAYER[str(sublayer)]} {layer}" if str(sublayer) in SUBLAYER else "transformer input"
        for sublayer, layer in zip(sublayers, layers, strict=True)
    ]


def layout(x: str, y: str, bottom: int, left: int = 64, **more: Any) -> dict[str, Any]:
    """Layout of a panel for Plotly; distances are in pixels.

    Axes are fixed: on a phone a finger on a panel scrolls the page.
    """
    axis = {"fixedrange": True, "zeroline": False, "gridcolor": FAINT, "ticks": "outside",
            "tickcolor": FAINT}  # fmt: skip
    return {
        "font": {"size": 14},
        "margin": {"l": left, "r": 16, "t": 36, "b": bottom},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "showlegend": False,
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": x, "standoff": 10}},
        "yaxis": {**axis, "title": {"text": y}},
        **more,
    }


def mark_above(x: int, shift: int, text: str, colour: str) -> dict[str, Any]:
    """A name above a panel, moved sideways by some pixels, and an arrow to its place."""
    place = {"x": x, "ax": shift, "y": 1, "yref": "paper", "ay": -18}
    return {**ARROW, **place, "text": text, "arrowcolor": colour}


def _marks(t0: int, t: int) -> dict[str, list[dict[str, Any]]]:
    """Names of T0 - 1 and T0 above a panel, lines through it, and the diagonal of the matrix."""
    before, same = figures.ACCENT, mpl.colors.to_hex(figures.GREY)
    line = {"type": "line", "y0": 0, "y1": 1, "yref": "paper", "layer": "below"}
    return {
        "names": [
            mark_above(t0 - 1, -30, BEFORE, before),
            mark_above(t0, 26, SAME, same),
        ],
        "lines": [
            {**line, "x0": x, "x1": x, "line": {"color": colour, "width": 1.5, "dash": dash}}
            for x, colour, dash in ((t0 - 1, before, "dash"), (t0, same, "dot"))
        ],
        # A line along the diagonal would hide it: arrows where it enters and leaves.
        "diagonal": [
            {**ARROW, "x": t0 - 1, "y": -0.5, "ax": 0, "ay": -18, "arrowcolor": before,
             "text": f"Δj = {BEFORE}"},
            {**ARROW, "x": t - 0.5, "y": t0, "ax": 18, "ay": 0, "arrowcolor": before, "text": ""},
        ],
    }  # fmt: skip


def as_json(value: object) -> str:
    """JSON of plain characters, as short as it can be."""
    return json.dumps(value, separators=(",", ":"))
