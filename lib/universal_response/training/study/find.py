"""Studies of training that are here already, and else made."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from universal_response import training
from universal_response.measurement import already_there
from universal_response.training.study.settings import StudySettings, study_settings_of

NAME = "training-letters.nc"


def training_for(
    settings: StudySettings | None = None,
    runs: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """What `study_training` gives: read from a file, or made and saved.

    Args:
        settings: of the study; the defaults if None.
        runs: folder of training-letters.nc, where a new study is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show progress bars while training.
    """
    settings = settings or StudySettings()
    asked = replace(settings, device=StudySettings.device)
    found = already_there(
        NAME, "training", (*also, runs), fits=lambda found: study_settings_of(found) == asked
    )
    if found is not None:
        return found
    return training.study_training_into(Path(runs) / NAME, settings, progress)
