"""Studies of models that add which are here already, and else made."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from universal_response import arithmetic
from universal_response.arithmetic.study.settings import ArithmeticSettings
from universal_response.measurement import found_or_made


def arithmetic_for(
    model: str,
    settings: ArithmeticSettings | None = None,
    runs: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """What `study_arithmetic` gives: read from a file, or measured and saved.

    Args:
        model: a registered adder, a folder that `train_into` has written, or a results file (.nc),
            which is taken as it is.
        settings: of the study; the defaults if None.
        runs: folder of arithmetic-MODEL.nc, where a new study is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show a progress bar while measuring.
    """
    settings = settings or ArithmeticSettings()
    return found_or_made(
        "arithmetic",
        model,
        settings,
        lambda path: arithmetic.study_arithmetic_into(path, model, settings, progress),
        runs,
        also,
    )
