"""Curves of experiments of different lengths, runs side by side."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from universal_response.training.model import HEADS
from universal_response.training.study.experiments import Experiment

ALL_HEADS = -1


def joined(curves: Mapping[str, xr.Dataset], experiments: Mapping[str, Experiment]) -> xr.Dataset:
    """Curves of all experiments, a run after the other.

    Args:
        curves: what `train` gives, by experiment.
        experiments: by the same names.

    Returns:
        Variables with `run` and `time` as dimensions, NaN after the end of a training; `sequences`
        (run, time) says when. Of every run `experiment`, `seed` and `active_head`, which is
        `ALL_HEADS` where no head acts alone.
    """
    parts = [_along_runs(experiments[name], each) for name, each in curves.items()]
    found = xr.concat(parts, "run", data_vars="all", join="outer", combine_attrs="drop")
    return found.drop_vars("time").transpose("run", "time", ...)


def _along_runs(experiment: Experiment, curves: xr.Dataset) -> xr.Dataset:
    n_runs, when = curves.sizes["run"], curves.sequences.values.astype(float)
    heads = np.arange(HEADS) if experiment.by_head else np.full(n_runs, ALL_HEADS)
    renamed = curves.rename(sequences="time").assign_coords(time=np.arange(len(when)))
    found = renamed.assign(sequences=(("run", "time"), np.tile(when, (n_runs, 1))))
    return found.assign_coords(
        experiment=("run", [experiment.name] * n_runs), active_head=("run", heads)
    )
