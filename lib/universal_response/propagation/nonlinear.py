"""Rules of activations, of the softmax and of attention as PyTorch offers it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.algebra import elementwise
from universal_response.propagation.change import Carried, NoRule, rule
from universal_response.propagation.entries import apply, made, written
from universal_response.propagation.pair import Pending, computed, flat, itself
from universal_response.propagation.rows import Parts, by_rows
from universal_response.propagation.rules import Number, SelfGated

_T, _F = torch.Tensor, torch.nn.functional


@rule(_T.sigmoid, torch.sigmoid, _F.sigmoid)
def _sigmoid(function: Any, carried: Carried) -> Carried:
    return elementwise(torch.sigmoid, rules.sigmoid, carried)


@rule(_T.tanh, torch.tanh, _F.tanh)
def _tanh(function: Any, carried: Carried) -> Carried:
    return elementwise(torch.tanh, rules.tanh, carried)


@rule(_T.relu, torch.relu, _F.relu)
def _relu(function: Any, carried: Carried, inplace: bool = False) -> Carried:
    found = elementwise(torch.relu, rules.relu, carried)
    return written(function, carried, found) if inplace else found


@rule(_F.silu)
def _silu(function: Any, carried: Carried, inplace: bool = False) -> Carried:
    found = activated(rules.SILU, carried)
    return written(function, carried, found) if inplace else found


@rule(_F.gelu)
def _gelu(function: Any, carried: Carried, *, approximate: str = "none") -> Carried:
    if approximate == "tanh":
        return activated(rules.GELU_TANH, carried)
    exact = _exact_gelu[carried.terms.limit]
    change = by_rows(exact, computed(carried.pair, itself), [flat(carried.change)]).view(
        carried.shape
    )
    return made(_F.gelu, change, (carried,), {}, carried)


def _exact_gelu_of_rows(limit: bool, clean: Parts, changes: Sequence[Tensor]) -> Tensor:
    return rules.gelu(clean(0).to(changes[0].dtype), changes[0], limit)


_exact_gelu = {limit: partial(_exact_gelu_of_rows, limit) for limit in (False, True)}


def activated(activation: SelfGated, carried: Carried) -> Carried:
    """A self-gated activation of a carried tensor."""
    change = Pending(activation, carried.pair, carried.terms)
    return made(activation.value, change, (carried,), {}, carried)


@rule(_T.softmax, torch.softmax, _F.softmax)
def _softmax(
    function: Any, carried: Carried, dim: int | None = None, dtype: Any = None, **_: Any
) -> Carried:
    if dim is None:
        raise NoRule("softmax: give the dimension")
    scores = carried.value.movedim(dim, -1)
    weights = torch.softmax(scores, -1)
    change = rules.softmax(scores, weights, carried.change.movedim(dim, -1), carried.terms.limit)
    found = (each.movedim(-1, dim) for each in (weights, change))
    return Carried(*found, carried.terms, dtype or carried.dtype)


@rule(_F.scaled_dot_product_attention)
def _attention(
    function: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Tensor | None = None,
    dropout_p: Number = 0.0,
    is_causal: bool = False,
    scale: Number | None = None,
    enable_gqa: bool = False,
) -> Carried:
    """Scores, softmax and mixing step by step, by their own rules."""
    if dropout_p > 0:
        raise NoRule("dropout: draws at random in training; use model.eval()")
    if enable_gqa:
        n = query.shape[-3] // key.shape[-3]
        key, value = (apply(_T.repeat_interleave, each, n, -3) for each in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if is_causal:
        shape = (query.shape[-2], key.shape[-2])
        attn_mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril()
    scores = apply(torch.matmul, apply(torch.mul, query, scale), apply(_T.transpose, key, -2, -1))
    if attn_mask is not None:
        seen = attn_mask.dtype == torch.bool
        mask = (
            torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, -torch.inf)
            if seen
            else attn_mask
        )
        scores = apply(torch.add, scores, mask)
    return apply(torch.matmul, apply(torch.softmax, scores, -1), value)
