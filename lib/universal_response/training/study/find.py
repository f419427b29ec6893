"""Studies of training that are here already, and else made."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from universal_response import training
from universal_response.measurement import load_results
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
    for path in (Path(folder) / NAME for folder in (*also, runs)):
        if path.exists():
            found = load_results(path, kind="training")
            if study_settings_of(found) == replace(settings, device=StudySettings.device):
                return found
    return training.study_training_into(Path(runs) / NAME, settings, progress)
