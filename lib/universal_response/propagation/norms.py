"""Rules of norms over the last dimension."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.change import Carried, NoRule, rule
from universal_response.propagation.entries import made
from universal_response.propagation.pair import computed, flat, itself
from universal_response.propagation.rows import Parts, RowRule, by_rows
from universal_response.propagation.rules import Number

_F = torch.nn.functional


@rule(_F.layer_norm)
def _layer_norm(
    function: Any,
    carried: Carried,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: Number = 1e-5,
) -> Carried:
    if len(normalized_shape) > 1:
        raise NoRule("layer_norm: no rule for a norm over more than the last dimension")
    change = norm_change(carried, eps, weight, centred=True)
    return made(function, change, (carried, normalized_shape, weight, bias, eps), {}, carried)


def norm_change(carried: Carried, constant: Number, gain: Tensor | None, centred: bool) -> Tensor:
    """Change of a norm over the last dimension, times its gain (width,)."""
    change, limit = flat(carried.change), carried.terms.limit
    gain = change.new_ones(change.shape[-1]) if gain is None else gain.to(change.dtype)
    if carried.exact is not None:
        rows, x, d = carried.exact
        found = torch.zeros_like(change)
        found[rows] = _normalised(x, d, constant, centred, limit).to(found.dtype)
        return found.mul_(gain).view(carried.shape)
    clean, compiled = computed(carried.pair, itself), carried.terms.compiled
    if carried.moments is None or centred:
        rule = _whole_norm(constant, centred, limit, gain)
        return by_rows(rule, clean, [change]).view(carried.shape)
    m, a, p = carried.moments
    r, b = rules.norm_factors(m, a, 0.0, p, constant, limit)
    # r w + b x, with w = d - a x.
    changes = [change, r, b - r * a, gain.expand(len(change), -1)]
    return by_rows(_norm_of_moments, clean, changes, compiled).view(carried.shape)


def _norm_of_moments(clean: Parts, changes: Sequence[Tensor]) -> Tensor:
    d, of_change, of_state, gain = changes
    return torch.mul(d, of_change).addcmul_(clean(0).to(d.dtype), of_state).mul_(gain)


def _whole_norm(constant: Number, centred: bool, limit: bool, gain: Tensor) -> RowRule:
    def rule(clean: Parts, changes: Sequence[Tensor]) -> Tensor:
        return _normalised(clean(0), changes[0], constant, centred, limit).mul_(gain)

    return rule


def _normalised(x: Tensor, d: Tensor, constant: Number, centred: bool, limit: bool) -> Tensor:
    x = x.to(d.dtype)
    if centred:
        x, d = (each - each.mean(-1, keepdim=True) for each in (x, d))
    return rules.normalised(x, d, constant, limit)
