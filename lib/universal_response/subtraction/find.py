"""Results of subtraction that are here already, and else measured."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from universal_response import subtraction
from universal_response.measurement import already_there, file_stem, load_results, save_results


def subtraction_for(
    model: str, runs: str | Path = "runs", also: Sequence[str | Path] = (), progress: bool = False
) -> xr.Dataset:
    """What `measure_subtraction` gives with its defaults: read from a file, or measured and saved.

    Args:
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        runs: folder of subtraction-MODEL.nc, where a new measurement is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show a progress bar while measuring.
    """
    if model.endswith(".nc"):
        return load_results(model, kind="subtraction")
    name = f"subtraction-{file_stem(model)}.nc"
    found = already_there(name, "subtraction", (*also, runs), model)
    if found is not None:
        return found
    found = subtraction.measure_subtraction(model, progress=progress)
    return load_results(save_results(found, Path(runs) / name), kind="subtraction")
