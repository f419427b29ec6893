"""Propagators that are here already, and else measured."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from universal_response import propagator
from universal_response.measurement import found_or_made
from universal_response.propagator.settings import PropagatorSettings


def propagator_for(
    model: str,
    settings: PropagatorSettings | None = None,
    runs: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """What `measure_propagator` gives: read from a file, or measured and saved.

    Args:
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        settings: of the measurement; the defaults if None.
        runs: folder of propagator-MODEL.nc, where a new measurement is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show a progress bar while measuring.
    """
    settings = settings or PropagatorSettings()
    return found_or_made(
        "propagator",
        model,
        settings,
        lambda path: propagator.measure_propagator_into(path, model, settings, progress),
        runs,
        also,
    )
