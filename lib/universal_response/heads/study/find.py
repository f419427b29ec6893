"""Studies of heads that are here already, and else made."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from universal_response import heads
from universal_response.heads.study.settings import HeadSettings
from universal_response.measurement import found_or_made


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
    settings = settings or HeadSettings()
    return found_or_made(
        "heads",
        model,
        settings,
        lambda path: heads.study_heads_into(path, model, settings, progress),
        runs,
        also,
    )
