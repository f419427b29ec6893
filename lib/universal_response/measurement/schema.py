"""The schemas of results files: kinds, versions, and the bits that are kept of a number."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from universal_response.metrics import COSINES
from universal_response.response import pairs_at

# Of every kind of results file. Each is written by the room of its name, films by `training.gpt2`.
SCHEMA_VERSIONS = {
    "response": 3,
    "subtraction": 1,
    "heads": 1,
    "training": 1,
    "film": 2,
    "propagator": 1,
    "arithmetic": 1,
}

# Leading bits kept of stored float32 numbers, so that they compress: averages to 2e-5, the witness
# to 5e-4, what is averaged again to 1e-3, errors to 2 %. Cosines and logarithms are rounded to
# that part of 1 instead; their sums to that part of the number of pairs.
STORED_BITS = (
    dict.fromkeys(("response", "state_length"), 15)
    | dict.fromkeys(("witness", "matrix", "pairs", "map"), 10)
    | dict.fromkeys(("geometric", "last_sum", "peak_sum", "window_sum"), 9)
    | dict.fromkeys(("last_log_sum", "peak_log_sum", "window_log_sum"), 8)
    | dict.fromkeys(("response_sem", "geometric_sem"), 5)
)


def kind_of(dataset: xr.Dataset) -> str:
    """What a results file holds, one of `SCHEMA_VERSIONS`."""
    return kind_in(dataset.attrs)


def kind_in(attributes: Mapping[Any, Any]) -> str:
    """`kind_of`, by the attributes alone."""
    return str(attributes.get("kind", "response"))


def stored_bits(name: str) -> int | None:
    """Bits kept of a variable, of the limit as many as of finite strengths; all if None."""
    of_limit = {"linear": "response", "linear_sem": "response_sem"}
    return STORED_BITS.get(of_limit.get(name, name.removeprefix("linear_")))


def as_stored(dataset: xr.Dataset) -> xr.Dataset:
    """float32 numbers rounded to the bits that carry information (`STORED_BITS`)."""
    return dataset.assign(
        {
            name: array.copy(data=_rounded(dataset, str(name), bits))
            for name, array in dataset.items()
            if array.dtype == np.float32 and (bits := stored_bits(str(name)))
        }
    )


def _rounded(dataset: xr.Dataset, name: str, bits: int) -> np.ndarray:
    """The values of a variable, to so many bits."""
    array = dataset[name].variable  # without coordinates, which need not be aligned
    leading = leading_bits(array.values, bits)
    metrics = dataset.metric.values if "metric" in array.dims else []
    bounded = np.isin(metrics, list(COSINES)) | ("_log_" in name)
    if name.endswith("sem") or not bounded.any():
        return leading
    unit: Any = 2.0**-bits
    if name.endswith("sum"):
        place = name.removeprefix("linear_").partition("_")[0]
        # A power of two, so that the sum ends in zeros.
        unit = unit * 2 ** np.floor(np.log2(pairs_at(dataset, place).variable.clip(min=1)))
    steps = (array.astype(float) / unit).round() * unit
    found = xr.where(xr.Variable("metric", bounded), steps, array.copy(data=leading))
    return found.transpose(*array.dims).values.astype(np.float32)


def leading_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Keep so many bits of float32 numbers after the leading one; what is no number stays."""
    drop = 23 - bits
    as_integer = np.ascontiguousarray(values).view(np.uint32)
    rounded = (as_integer + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)
