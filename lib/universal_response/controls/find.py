"""Files of controls: all of a model, and a few of all for a quick check."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from universal_response import controls
from universal_response.controls.catalogue import CONTROLS
from universal_response.measurement import load_results


def control_file(folder: str | Path, name: str, model: str) -> Path:
    """Of a control of a model."""
    return Path(folder) / f"control-{name}-{model}.nc"


def controls_for(
    model: str, runs: str | Path = "runs", also: Sequence[str | Path] = (), progress: bool = False
) -> dict[str, xr.Dataset]:
    """All controls of a model by name: read from files, or measured and saved.

    Args:
        model: a registered name.
        runs: folder of control-NAME-MODEL.nc, where new ones are saved.
        also: further folders to look in first, such as that of the shipped results; one that holds
            any control of the model is taken.
        progress: show a progress bar while measuring.
    """
    for folder in also:
        found = _in_folder(folder, model)
        if found:
            return found
    controls.measure_controls(model, runs, progress)
    return _in_folder(runs, model)


def _in_folder(folder: str | Path, model: str) -> dict[str, xr.Dataset]:
    paths = {each.name: control_file(folder, each.name, model) for each in CONTROLS}
    return {name: load_results(path) for name, path in paths.items() if path.exists()}


def in_rotation(paths: Sequence[Path], every: int = 4) -> list[Path]:
    """Of files of controls every fourth, beginning one later for each model; all other files.

    A fixed choice for a quick check, in which most kinds of controls come up in some model.

    Args:
        paths: of results files.
        every: which are taken.
    """
    known = {path: control_and_model(path) for path in paths}
    models = sorted({one[1] for one in known.values() if one is not None})
    return [
        path
        for path, one in known.items()
        if one is None or (one[0] + models.index(one[1])) % every == 0
    ]


def control_and_model(path: Path) -> tuple[int, str] | None:
    """The place of a control in the catalogue and its model, from the name of its file.

    None of a file of something else.
    """
    for place, each in enumerate(CONTROLS):
        start = f"control-{each.name}-"
        if path.stem.startswith(start):
            return place, path.stem.removeprefix(start)
    return None
