"""Checks of session 1."""

import math
from typing import Any

import numpy as np
import xarray as xr

from universal_response.companion.exercises.answers import call, matches, number, powers, slope
from universal_response.response import (
    POWER,
    at_epsilon,
    last,
)


def block_length(data: xr.Dataset) -> int:
    return int(data.attrs["t0"])


def reference(data: xr.Dataset, metric: str = "delta") -> xr.DataArray:
    """Response functions at the reference strength (position, delta_j)."""
    return at_epsilon(data.response.sel(metric=metric), float(data.attrs["epsilon0"]))


def read_peak(answer: Any, data: xr.Dataset) -> bool:
    far = reference(data).sel(position=last(data), delta_j=slice(block_length(data) // 2, None))
    return number(answer) == int(far.idxmax("delta_j"))


def causal_zeros(answer: Any, data: xr.Dataset) -> bool:
    return number(answer) == int((data.matrix.sel(metric="delta") == 0).sum())


def first_responder(answer: Any, data: xr.Dataset) -> bool:
    # Short embeddings leak a little through the first norm: take the position at which the
    # response of the other tokens grows by the largest factor.
    others = reference(data).sel(delta_j=slice(1, None)).mean("delta_j")
    growth = others.values[2:] / np.maximum(others.values[1:-1], np.finfo(np.float32).tiny)
    return number(answer) == 2 + int(growth.argmax())


def relative_length(answer: Any, data: xr.Dataset) -> bool:
    generator = np.random.default_rng(0)
    for shape in ((7,), (3, 5), (2, 3, 4)):
        x, perturbed = generator.normal(size=(2, *shape))
        vectors = zip(x.reshape(-1, shape[-1]), perturbed.reshape(-1, shape[-1]), strict=True)
        lengths = [math.dist(after, before) / math.hypot(*before) for before, after in vectors]
        expected = np.array(lengths).reshape(shape[:-1])
        if not matches(call(answer, x, perturbed), expected, rtol=1e-6):
            return False
    return True


def two_powers(answer: Any, data: xr.Dataset) -> bool:
    claimed = powers(answer)
    weak = data.response.sel(position=last(data), epsilon=data.epsilon <= 0.0301).mean("delta_j")
    return all(
        abs(slope(weak.epsilon, weak.sel(metric=metric)) - power) < 0.1
        for metric, power in claimed.items()
    )


def collapse(answer: Any, data: xr.Dataset) -> bool:
    for metric in ("delta", "phi"):
        response = data.response.sel(metric=metric, position=last(data))
        response = response.transpose("epsilon", "delta_j")
        relative = response.epsilon.values / float(data.attrs["epsilon0"])
        expected = np.array(
            [
                curve / factor ** POWER[metric]
                for curve, factor in zip(response.values, relative, strict=True)
            ]
        )
        result = call(answer, data, metric)
        if isinstance(result, xr.DataArray) and set(result.dims) == {"epsilon", "delta_j"}:
            result = result.transpose("epsilon", "delta_j")
        if not matches(result, expected, rtol=1e-3):
            return False
    return True
