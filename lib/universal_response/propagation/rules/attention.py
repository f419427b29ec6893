"""Softmax, and the values it mixes."""

import math

import torch
from torch import Tensor

from universal_response.propagation.rules.double import exact_dtype, leaves, replaced

# Beyond it the rounding of d, relative to e^d, exceeds 5e-7 in float32.
_STRONG = 16.0


def softmax(scores: Tensor, weights: Tensor, d: Tensor, limit: bool) -> Tensor:
    """p' - p = p (E - m) / (1 + m) with E = e^d - 1 and m = sum p E, p the softmax of the scores.

    A softmax does not see what all scores share: d is counted from that at the largest p. In the
    limit p (d - sum p d). Where some d exceeds 16, or 1 + m nearly vanishes, from the scores.

    Args:
        scores: (..., key), -inf or less than -1e30 where a key is hidden; broadcast over d.
        weights: p, their softmax.
        d: change of the scores (..., key).
        limit: leave out products of changes.
    """
    largest = weights.argmax(-1, keepdim=True)
    shifted = d - d.gather(-1, largest.expand(*d.shape[:-1], 1))
    # What is hidden stays so, whatever its score.
    shifted = shifted.masked_fill(scores < -1e30, 0)
    if limit:
        return weights * (shifted - (weights * shifted).sum(-1, keepdim=True))
    grown = torch.expm1(shifted).mul_(weights)
    mean = grown.sum(-1, keepdim=True)
    found = torch.addcmul(grown, weights, mean, value=-1).div_(mean + 1)
    rare = (shifted.amax(-1) > _STRONG) | (mean[..., 0] < -0.5)
    return replaced(found, rare, _strong_softmax, (scores.expand_as(d), d))


def _strong_softmax(scores: Tensor, d: Tensor) -> Tensor:
    exact = scores.to(exact_dtype(scores))
    changed = exact + d.masked_fill(scores < -1e30, 0)
    return torch.softmax(changed, -1) - torch.softmax(exact, -1)


def is_strong(d: Tensor) -> bool:
    """Whether e^d may overflow in a softmax; not asked, but assumed, where asking means waiting."""
    return leaves(d, -math.inf, _STRONG)


def mixed(
    weights: Tensor,
    d: Tensor,
    value: Tensor,
    dvalue: Tensor,
    mixture: Tensor,
    limit: bool,
) -> Tensor:
    """z' - z for z = p v: (G v - m z + (p + G) dv) / (1 + m), with G = p (e^d - 1), m = sum G.

    The softmax of changed scores and what it mixes, without the changed softmax itself. In the
    limit G v - m z + p dv with G = p d. For d up to 16, counted from the largest p as in `softmax`.

    Args:
        weights: p, (..., query, key); the last keys may be some without value.
        d: change of the scores; overwritten.
        value: v, (..., key, width).
        dvalue: its change, of the last keys of v; those before do not change.
        mixture: z, (..., query, width).
        limit: leave out products of changes.
    """
    t, changed = value.shape[-2], dvalue.shape[-2]
    grown = (d if limit else d.expm1_()).mul_(weights)
    mean = grown.sum(-1, keepdim=True)
    found = torch.addcmul(grown[..., :t] @ value, mean, mixture, value=-1)
    late = weights[..., t - changed : t]
    found += (late if limit else late + grown[..., t - changed : t]) @ dvalue
    return found if limit else found.div_(mean + 1)
