"""Checks of session 3."""

import math
from typing import Any

import numpy as np
import torch
import xarray as xr

from universal_response.companion.exercises.answers import (
    WrongKind,
    call,
    matches,
    near,
    number,
    pair,
    powers,
    slope,
)
from universal_response.metrics import METRICS, InnerProducts
from universal_response.response import (
    POWER,
    last,
    relative_deviation,
)


def carry_change(answer: Any, data: xr.Dataset) -> bool:
    v = np.random.default_rng(0).normal(size=50).astype(np.float32)
    for size in (1.0, 1e-2, 1e-6, 1e-10, 1e-20):
        d = (size * np.random.default_rng(1).normal(size=50)).astype(np.float32)
        # Products and sums of these in double precision, where nothing nearly equal is subtracted.
        expected = 2 * v.astype(float) * d + d.astype(float) ** 2
        if not matches(call(answer, v, d), expected, rtol=1e-4):
            return False
    return True


def stable_angle(answer: Any, data: xr.Dataset) -> bool:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(50, 64)).astype(np.float32)
    turned = generator.normal(size=x.shape)
    for epsilon in (0.3, 1e-2, 1e-3, 1e-5):
        perturbed = (x + epsilon * turned).astype(np.float32)
        # Double precision is enough here, whatever the formula.
        wide, after = x.astype(float), perturbed.astype(float)
        lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(after, axis=1)
        expected = 1 - (wide * after).sum(1) / lengths
        if not matches(call(answer, x, perturbed), expected, rtol=1e-2):
            return False
    # In double precision too: a cast only moves the problem. The vectors (3, 4), (-4, 3) are
    # perpendicular and equally long, so the angle is known without any cosine.
    small = 1e-9
    before = np.array([[3.0, 4.0]])
    after = before + small * np.array([[-4.0, 3.0]])
    found = call(answer, before, after)
    return matches(found, np.array([2 * math.sin(math.atan(small) / 2) ** 2]), rtol=1e-2)


def parallel_response(answer: Any, data: xr.Dataset) -> bool:
    claimed = powers(answer)
    strengths = np.array([1e-3, 3e-3, 1e-2])
    x, second_order = np.random.default_rng(0).normal(size=(2, 16))
    responses = [epsilon * x + epsilon**2 * second_order for epsilon in strengths]
    length = np.linalg.norm(x)
    across = [np.linalg.norm(d - (d @ x) * x / length**2) for d in responses]
    along = [length + d @ x / length for d in responses]
    measured = {
        "delta": [np.linalg.norm(d) / length for d in responses],
        "phi": [
            2 * math.sin(math.atan2(a, b) / 2) ** 2 for a, b in zip(across, along, strict=True)
        ],
    }
    return all(
        abs(slope(strengths, measured[metric]) - power) < 0.1 for metric, power in claimed.items()
    )


def plateau(answer: Any, data: xr.Dataset) -> bool:
    measured = relative_deviation(data, "delta", float(data.attrs["epsilon0"]))["mean"]
    settled = measured.sel(epsilon=(measured.epsilon > 5e-4) & (measured.epsilon < 5e-3))
    return near(answer, float(settled.mean()), rtol=0.15, atol=0.002)


def own_measurement(answer: Any, data: xr.Dataset) -> bool:
    if not isinstance(answer, xr.Dataset) or not {"response", "tokens"} <= set(answer):
        raise WrongKind("the Dataset that measure returned")
    weak = answer.epsilon.values <= 0.0501
    strengths = answer.epsilon.values[weak]
    if len(strengths) < 3 or strengths.max() / strengths.min() < 9.99:
        return False
    if answer.tokens.shape == data.tokens.shape and (answer.tokens == data.tokens).all():
        return False
    at = {"metric": "delta", "position": last(answer)}
    response = answer.response.sel(at).isel(epsilon=weak).mean("delta_j")
    return abs(slope(strengths, response) - POWER["delta"]) < 0.1


def own_metric(answer: Any, data: xr.Dataset) -> bool:
    metric, claimed = pair(answer, "a function and a power, (metric, power)")
    power = number(claimed)
    strengths = np.array([1e-4, 3e-4, 1e-3])
    products = _known_products(strengths)
    values = call(metric, products)
    if not isinstance(values, torch.Tensor) or values.shape != products.response_response.shape:
        return False
    if not torch.isfinite(values).all() or (values.tril(-1) != 0).any():
        return False
    if any(_proportional(values[-1], known(products)[-1]) for known in METRICS.values()):
        return False
    size = values[-1].abs().mean((-3, -2, -1))
    return bool((size > 0).all()) and abs(slope(strengths, size.numpy()) - power) < 0.05


def _known_products(strengths: np.ndarray) -> InnerProducts:
    """Inner products of made-up streams D = epsilon a + epsilon^2 b, in double precision."""
    generator = torch.Generator().manual_seed(0)
    t, width = 6, 16
    x = torch.randn(3, 1, 2, 1, t, width, generator=generator, dtype=torch.float64)
    a, b = torch.randn(2, 3, 1, 2, t, t, width, generator=generator, dtype=torch.float64)
    a[0], b[0] = 0, 0
    own = torch.arange(t)
    a[0, :, :, own, own] = -x[0, :, :, 0]
    epsilon = torch.as_tensor(strengths)[:, None, None, None, None]
    response = (epsilon * a + epsilon**2 * b) * torch.ones(t, t).triu()[..., None]
    source = response[:, :, :, own, own][..., None, :]
    along = (response * x).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True)
    return InnerProducts(
        state_state=(x * x).sum(-1)[:, 0, :, 0],
        response_response=(response * response).sum(-1),
        response_state=(response * x).sum(-1),
        response_source=(response * source).sum(-1),
        response_perturbation=(response * source[:1]).sum(-1),
        perpendicular=((response - along * x) ** 2).sum(-1),
        sources=own.repeat(2, 1),
        fallback_modules=(),
    )


def _proportional(values: torch.Tensor, others: torch.Tensor) -> bool:
    """Equal but for a factor."""
    size = values.norm() * others.norm()
    return bool(size > 0 and abs((values * others).sum() / size) > 1 - 1e-6)
