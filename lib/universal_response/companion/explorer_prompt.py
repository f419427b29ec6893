"""Results of a prompt -> what the interactive map of its tokens shows.

The same script draws it in the book and in a page that is mailed (`companion.prompt_page`).
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr

from universal_response import figures, measurement, models, response
from universal_response.companion import explorer, provenance

NAME = "explorer-prompt"
INDEX = f"{NAME}-index.js"
SCRIPT, LOOK = "prompt_map.js", "prompt_map.css"


def scripts(folder: str | Path) -> dict[str, str]:
    """Files by name for the page in the book: the data of the shipped prompt, script and look.

    Without a file prompt-MODEL.nc of a registered model there is no data, and the page says so.
    """
    found = explorer.results_of_models(folder, before="prompt-")
    shown = next(iter(found.values()), None)
    data = None if shown is None else prompt_data(shown)
    return {
        INDEX: f"window.PROMPT_MAP = {explorer.as_json(data)};\n",
        SCRIPT: page_file(SCRIPT),
        LOOK: page_file(LOOK),
    }


def page_file(name: str) -> str:
    """What page and book share, by file name."""
    return (files("universal_response.companion") / "page" / name).read_text(encoding="utf-8")


def prompt_data(dataset: xr.Dataset) -> dict[str, Any]:
    """All that the map shows, ready for JSON.

    Args:
        dataset: results of a single prompt, with their maps.

    Returns:
        The model's title, tokens, names of positions, colour scales, how it was made, and packed
        (`explorer.pack`) `finite`, C_delta over epsilon0, and `limit`, each (position, pair) with
        the pairs j >= i in the order of i, then j. They are those of a results file: rounded to
        5e-4 of themselves.

    Raises:
        ValueError: the results hold no maps, or several sequences.
    """
    n = dataset.sizes["sequence"]
    if n > 1:
        raise ValueError(f"text: {n} passages; a page shows one, leave blank lines out")
    maps = response.limit_maps(dataset)
    norm, ratio_norm = figures.map_norms(maps)
    return {
        "title": models.title(str(dataset.attrs["model"])),
        "tokens": figures.token_names(dataset),
        "epsilon0": float(dataset.attrs["epsilon0"]),
        "position": explorer.position_names(dataset.sublayer.values, dataset.layer.values),
        "scales": {
            "response": _scale(norm, figures.colormap("delta")),
            "ratio": _scale(ratio_norm, mpl.colormaps[figures.RATIO_COLOURS]),
            "empty": mpl.colors.to_hex(figures.EMPTY),
        },
        "made": made(dataset),
        "finite": explorer.pack(_pairs(maps.finite)),
        "limit": explorer.pack(_pairs(maps.limit)),
    }


def made(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """How the numbers came about: what is said, and in which words."""
    attrs, versions = dataset.attrs, provenance.versions(dataset)
    weights = f"{attrs['quantisation']}, sha256 {attrs['weights_sha256'][:12]}"
    code = f"universal-response {versions['universal-response']}"
    return [
        ("weights", weights.replace("none,", "not quantised,")),
        ("strength", f"ε₀ = {attrs['epsilon0']:g}, and the exact limit ε → 0"),
        ("computed in", f"{attrs['dtype']}, on {attrs['device']}"),
        ("with", f"{code}, commit {provenance.short_commit(str(attrs['git_commit']))}"),
        ("on", str(attrs["created"])[:10]),
    ]


def _pairs(values: xr.DataArray) -> np.ndarray:
    """The entries j >= i of every position, to the bits that a results file keeps."""
    array = values.transpose("position", "source", "target").values
    kept = array[:, *np.triu_indices(array.shape[-1])].astype(np.float32)
    return measurement.leading_bits(kept, measurement.stored_bits("map") or 0)


def _scale(norm: mpl.colors.LogNorm, colours: mpl.colors.Colormap) -> dict[str, Sequence[Any]]:
    """Smallest and largest number told apart, and colours on the logarithmic way between them."""
    ends = [float(f"{end:.4g}") for end in (norm.vmin, norm.vmax)]
    return {"range": ends, "colours": [colour for _, colour in explorer.colour_scale(colours)]}
