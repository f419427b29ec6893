"""Studies of heads that are here already, and else made."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from universal_response import heads
from universal_response.heads.study.settings import HeadSettings, head_settings_of
from universal_response.measurement import already_there, file_stem, load_results


def heads_for(
    model: str,
    settings: HeadSettings | None = None,
    runs: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """What `study_heads` gives: read from a file, or measured and saved.

    Args:
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        settings: of the study; the defaults if None.
        runs: folder of heads-MODEL.nc, where a new study is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show a progress bar while measuring.
    """
    if model.endswith(".nc"):
        return load_results(model, kind="heads")
    settings, name = settings or HeadSettings(), f"heads-{file_stem(model)}.nc"
    asked = replace(settings, device=HeadSettings.device)
    found = already_there(
        name, "heads", (*also, runs), model, lambda one: head_settings_of(one) == asked
    )
    if found is not None:
        return found
    return heads.study_heads_into(Path(runs) / name, model, settings, progress)
