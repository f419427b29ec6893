"""Products, quotients, powers, and what is cut off."""

import math

import torch
from torch import Tensor

from universal_response.propagation.rules.double import Number


def product(x: Tensor, dx: Tensor, y: Tensor, dy: Tensor, limit: bool) -> Tensor:
    """x'y' - x y = dx y + x' dy, with x' = x + dx; in the limit dx y + x dy."""
    return torch.addcmul(dx * y, x if limit else x + dx, dy)


def quotient(x: Tensor | Number, dx: Tensor, y: Tensor, dy: Tensor, limit: bool) -> Tensor:
    """x'/y' - x/y = (dx - (x / y) dy) / y', with y' = y + dy; in the limit / y."""
    return (dx - x / y * dy) / (y if limit else y + dy)


def square(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """(v + d)^2 - v^2 = d (2 v + d); in the limit 2 v d."""
    return d * (2 * v if limit else 2 * v + d)


def cube(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """(v + d)^3 - v^3 = d (3 v (v + d) + d^2); in the limit 3 v^2 d."""
    return d * (3 * v * v if limit else 3 * v * (v + d) + d * d)


def clamp(v: Tensor, d: Tensor, low: Number, high: Number, limit: bool) -> Tensor:
    """d as far as it stays between the bounds; in the limit d where v lies between them."""
    if limit:
        return d * ((v > low) & (v < high))
    kept = v.clamp(low, high)
    return torch.minimum(torch.maximum(d + (v - kept), low - kept), high - kept)


def relu(v: Tensor, d: Tensor, limit: bool) -> Tensor:
    """d, 0, or the part of d beyond the kink."""
    return clamp(v, d, 0.0, math.inf, limit)
