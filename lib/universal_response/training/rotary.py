"""Rotary positions, interleaved: neighbouring numbers of queries and keys turn as pairs."""

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

BASE = 1e4


def rotated(x: Float[Tensor, "*batch token width"], d_head: int) -> Tensor:
    """Queries or keys of all heads, turned by angles that grow with the place of the token."""
    cos, sin, quarter = _turns(x.shape[-2], x.shape[-1], d_head, x.dtype, x.device)
    beside = torch.matmul(x.unflatten(-1, (-1, d_head)), quarter).flatten(-2)
    return x * cos + beside * sin


@cache
def _turns(
    n_tokens: int, width: int, d_head: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines and sines (token, width), and the matrix that turns every pair by a right angle."""
    rates = BASE ** -(torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)
    rates = rates.repeat_interleave(2).repeat(width // d_head)
    angles = torch.arange(n_tokens, dtype=torch.float64)[:, None] * rates
    # (a, b) becomes (-b, a).
    quarter = torch.zeros(d_head, d_head, dtype=torch.float64)
    even = torch.arange(0, d_head, 2)
    quarter[even, even + 1], quarter[even + 1, even] = 1, -1
    cos, sin, quarter = (each.to(device, dtype) for each in (angles.cos(), angles.sin(), quarter))
    return cos, sin, quarter
