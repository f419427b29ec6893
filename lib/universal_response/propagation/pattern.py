"""Attention patterns: scores and their softmax, and how both change."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.pair import Terms
from universal_response.propagation.rules import Number
from universal_response.propagation.suffixes import Segment


@dataclass(frozen=True)
class Clean:
    """Queries, keys and values of the whole unperturbed sequences, in one layer."""

    query: Float[Tensor, "sequence head token d_head"]
    key: Float[Tensor, "sequence key_head token d_head"]
    value: Float[Tensor, "sequence key_head token d_head"]


@dataclass(frozen=True)
class Form:
    """How an attention module makes a pattern of scores.

    Attributes:
        scaling: of the scores.
        softcap: bound that they approach, or None.
        window: how many tokens a token sees, itself included; all left of it if None.
        sinks: of each head the score of a key without value, or None.
    """

    scaling: Number
    softcap: Number | None
    window: int | None
    sinks: Float[Tensor, " head"] | None


@dataclass(frozen=True)
class Pattern:
    """Clean scores, before and after their bound, and their softmax, for the last queries.

    Rows are (query, head that shares the key) in this order, so that those of later queries are a
    part of the whole without a copy.

    Attributes:
        query: (sequence, key_head, row, d_head).
        key: scaled as the scores are, and of all tokens, as `value` is.
        value: (sequence, key_head, token, d_head).
        raw: scaled scores, (sequence, key_head, row, key).
        scores: the same bounded, -inf where a key is hidden; a last key more where there is a sink.
        weights: softmax of `scores`.
        largest: key of the largest weight, (sequence, key_head, row, 1).
        mixture: values as weighted, (sequence, key_head, row, d_head).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    raw: Tensor
    scores: Tensor
    weights: Tensor
    largest: Tensor
    mixture: Tensor


def pattern(clean: Clean, first: int, mask: Float[Tensor, "query key"], form: Form) -> Pattern:
    """Clean pattern of the queries first .. T-1, in float32 at least.

    Args:
        clean: of one layer.
        first: the first query.
        mask: 0 where a query may look and -inf elsewhere.
        form: of the attention.
    """
    accurate = torch.promote_types(clean.query.dtype, torch.float32)
    q, k, v = (each.to(accurate) for each in (clean.query[:, :, first:], clean.key, clean.value))
    n_shared = q.shape[1] // k.shape[1]
    rows, k = by_key(q, n_shared), k * form.scaling
    raw = rows @ k.transpose(-2, -1)
    scores = raw if form.softcap is None else form.softcap * torch.tanh(raw / form.softcap)
    scores = scores + mask.repeat_interleave(n_shared, 0)
    if form.sinks is not None:
        sinks = form.sinks.to(accurate).view(k.shape[1], 1, n_shared).expand(-1, q.shape[2], -1)
        sinks = sinks.flatten(1)[None, ..., None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = torch.softmax(scores, -1)
    mixture = weights[..., : k.shape[2]] @ v
    largest = weights.argmax(-1, keepdim=True)
    return Pattern(rows, k, v, raw, scores, weights, largest, mixture)


def of_segment(whole: Pattern, segment: Segment, first: int) -> Pattern:
    """The sequences of a segment, and of the queries those from its source on."""
    n_shared = whole.query.shape[2] // (whole.key.shape[2] - first)
    skipped = (segment.source - first) * n_shared
    every = len(segment.sequences) == len(whole.key)
    found = {
        name: each if every else each[list(segment.sequences)] for name, each in vars(whole).items()
    }
    later = {name: each[:, :, skipped:] for name, each in found.items()}
    return Pattern(**(later | {"key": found["key"], "value": found["value"]}))


def score_changes(
    seen: Pattern, dq: Tensor, dk: Tensor, form: Form, limit: bool
) -> Float[Tensor, "strength sequence key_head row key"]:
    """dS = dq k + q' dk of a segment, counted from that at the largest weight.

    Args:
        seen: pattern of the suffix.
        dq: changes of the queries, (strength, sequence, head, suffix, d_head).
        dk: changes of the keys, (strength, sequence, key_head, suffix, d_head).
        form: of the attention.
        limit: leave out products of changes.
    """
    t, length = seen.key.shape[2], dk.shape[3]
    dq = by_key(dq, dq.shape[2] // dk.shape[2])
    q = seen.query if limit else seen.query + dq
    d = dq @ seen.key.transpose(-2, -1)
    d[..., t - length :] += q @ (dk * form.scaling).transpose(-2, -1)
    if form.softcap is not None:
        d = form.softcap * rules.tanh(seen.raw / form.softcap, d / form.softcap, limit)
    if form.sinks is not None:
        d = torch.nn.functional.pad(d, (0, 1))
    return d.sub_(d.gather(-1, seen.largest.expand(*d.shape[:-1], 1)))


def mixture_changes(
    seen: Pattern, d: Tensor, dv: Tensor, terms: Terms
) -> Float[Tensor, "strength sequence key_head row d_head"]:
    """Changes of what a segment mixes, from those of its scores and values.

    Args:
        seen: pattern of the suffix.
        d: changes of the scores, as `score_changes` gives them; overwritten.
        dv: changes of the values, (strength, sequence, key_head, suffix, d_head).
        terms: how changes are carried.

    Returns:
        As `by_key` orders them.
    """
    v, t, length = seen.value, seen.key.shape[2], dv.shape[3]
    if not terms.limit and rules.is_strong(d):
        dp = rules.softmax(seen.scores, seen.weights, d, limit=False)[..., :t]
        return dp @ v + (seen.weights[..., :t] + dp)[..., t - length :] @ dv
    return rules.mixed(seen.weights, d, v, dv, seen.mixture, terms.limit)


def by_key(of_heads: Tensor, n_shared: int) -> Tensor:
    """(.., head, token, width) -> (.., key_head, token x shared, width): one product each."""
    if n_shared == 1:
        return of_heads
    return of_heads.unflatten(-3, (-1, n_shared)).transpose(-3, -2).flatten(-3, -2)
