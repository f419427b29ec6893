"""What the tests of measurement share: small settings, and parts of results to compare."""

import functools
import sys

import xarray as xr
from universal_response import Settings, measure, measurement, response

MEASURE = sys.modules[measure.__module__]  # its name is that of the function
SETTINGS = Settings(t0=7, batch=4, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)
RUN = ["wall_time_s", "created"]  # what may differ between two equal measurements
FEW = (
    *("tokens", "token_label", "n_pairs", "direction"),
    *("response", "last_sum", "witness", "linear", "matrix"),
)


def measured(model, settings, progress=False):
    """What `measure` gives, measured once for all who ask; each gets a copy of their own."""
    return _measured_once(model, settings).copy(deep=True)


@functools.cache
def _measured_once(model, settings):
    return measure(model, settings)


def few(dataset):
    """Some of the variables, since each takes its time to be written and to be read."""
    return dataset[[name for name in FEW if name in dataset]]


def numbers(dataset):
    return dataset.drop_attrs(deep=False)


def without_run(dataset):
    return {name: value for name, value in dataset.attrs.items() if name not in RUN}


def shapes(dataset):
    return {name: (array.dims, array.shape) for name, array in dataset.data_vars.items()}


def half_a_unit(name):
    """Largest error of a number that is rounded for a file: relative, or of a cosine absolute."""
    return 2.0 ** -(measurement.stored_bits(name) + 1)


def is_relative(dataset, name):
    """Whether numbers keep leading bits; cosines and logarithms are rounded to a part of 1."""
    if name.endswith("sem"):
        return xr.DataArray(True)
    if "metric" not in dataset[name].dims:
        return xr.DataArray("log" not in name)
    return ~dataset.metric.str.startswith("theta") & ("log" not in name)


def scale(dataset, name):
    """What the error of a stored number is relative to."""
    absolute = xr.DataArray(1.0)
    if name.endswith("_sum"):
        place = name.removeprefix("linear_").split("_")[0]
        absolute = response.pairs_at(dataset, place).clip(min=1)
    return xr.where(is_relative(dataset, name), abs(dataset[name]), absolute)
