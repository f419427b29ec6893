"""Propagators that are here already, and else measured."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from universal_response import propagator
from universal_response.measurement import already_there, file_stem, load_results
from universal_response.propagator.settings import PropagatorSettings, propagator_settings_of


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
    if model.endswith(".nc"):
        return load_results(model, kind="propagator")
    settings, name = settings or PropagatorSettings(), f"propagator-{file_stem(model)}.nc"
    asked = replace(settings, device=PropagatorSettings.device)
    found = already_there(
        name, "propagator", (*also, runs), model, lambda one: propagator_settings_of(one) == asked
    )
    if found is not None:
        return found
    return propagator.measure_propagator_into(Path(runs) / name, model, settings, progress)
