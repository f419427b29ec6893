"""Attention of suffixes laid end to end: its changes, from queries, keys and values.

Scores S = q k change by dq k + q' dk, the pattern p = softmax S by the rule of the softmax, what is
mixed z = p v by dp v + p' dv. Left of the source nothing changes, so dk and dv are those of the
suffix; q, k, v and p are those of the clean pass.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.change import Carried, NoRule
from universal_response.propagation.observing import Observers, Seen
from universal_response.propagation.pair import Terms
from universal_response.propagation.pattern import (
    Clean,
    Form,
    Pattern,
    mixture_changes,
    of_segment,
    pattern,
    score_changes,
)
from universal_response.propagation.rules import Number
from universal_response.propagation.suffixes import Packing, Segment


@dataclass
class Attended:
    """What the attention of a pass needs beside queries, keys and values.

    Attributes:
        packing: how the tokens are laid out.
        clean: of each layer; written in the clean pass and read in the others.
        observe: who watches.
        masks: 0 where a token may look and -inf elsewhere, made once.
    """

    packing: Packing
    clean: dict[int, Clean]
    observe: Observers = field(default_factory=dict)
    masks: dict[tuple, Tensor] = field(default_factory=dict)

    def mask(self, first: int, window: int | None, like: Tensor) -> Tensor:
        """(query, key), for the queries first .. T-1."""
        key = (first, window, like.device)
        if key not in self.masks:
            observed = torch.arange(self.packing.t, device=like.device)
            observing = observed[first:, None]
            hidden = observed > observing
            if window is not None:
                hidden = hidden | (observed <= observing - window)
            mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device)
            self.masks[key] = mask.masked_fill_(hidden, -torch.inf)
        return self.masks[key]


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: Number,
    suffixes: Attended,
    softcap: Number | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention in place of a Hugging Face module's own.

    Args:
        module: the attention module; `layer_idx` tells its layer.
        query: (1, head, packed, d_head).
        key: with fewer heads where queries share them, and so `value`.
        value: as `key`.
        attention_mask: none is made: what is hidden follows from the layout.
        scaling: of the scores.
        suffixes: layout and clean states.
        softcap: bound of the scores.
        sliding_window: how far back a token sees.
        s_aux: attention sinks.
        others: what else the module passes on.

    Returns:
        (1, packed, head, d_head), and None for the attention pattern.
    """
    form = Form(scaling, softcap, sliding_window, s_aux)
    if not isinstance(query, Carried):
        return _clean_attention(module.layer_idx, query, key, value, suffixes, form), None
    if not (isinstance(key, Carried) and isinstance(value, Carried)):
        raise NoRule("attention: keys or values that do not change")
    moved = (query.change, key.change, value.change)
    found = changes(module.layer_idx, moved, suffixes, form, query.terms)

    def unknown() -> Tensor:
        raise NoRule("attention: its value is not kept")

    return Carried(unknown, found[None], query.terms, query.dtype), None


def _clean_attention(
    layer: int, query: Tensor, key: Tensor, value: Tensor, suffixes: Attended, form: Form
) -> Tensor:
    """Of whole sequences laid end to end, in the dtype of the model; what it takes is kept."""
    t = suffixes.packing.t
    # Contiguous once: every product would else copy them anew.
    q, k, v = (
        each[0].unflatten(1, (-1, t)).transpose(0, 1).contiguous() for each in (query, key, value)
    )
    clean = suffixes.clean[layer] = Clean(q, k, v)
    mixture = pattern(clean, 0, suffixes.mask(0, form.window, q), form).mixture
    return _by_token(mixture, q.shape[1] // k.shape[1])[None].to(query.dtype)


def changes(
    layer: int,
    moved: tuple[Tensor, Tensor, Tensor],
    suffixes: Attended,
    form: Form,
    terms: Terms,
) -> Float[Tensor, "packed head d_head"]:
    """Changes of what is mixed, from those of queries, keys, values (1, head, packed, d_head)."""
    packing, clean = suffixes.packing, suffixes.clean[layer]
    first = min(segment.source for segment in packing.segments)
    # One pattern serves all suffixes of the pass.
    mask = suffixes.mask(first, form.window, clean.query)
    whole = pattern(clean, first, mask, form)
    watch = suffixes.observe.get("pattern")
    found = torch.empty_like(moved[0][0].transpose(0, 1), memory_format=torch.contiguous_format)
    for segment, place in packing.rows:
        seen = of_segment(whole, segment, first)
        dq, dk, dv = (_rows(each[0, :, place], segment) for each in moved)
        d = score_changes(seen, dq, dk, form, terms.limit)
        if watch is not None:
            watch(_seen_pattern(layer, seen, d, segment, packing.t, terms.limit))
        dz = mixture_changes(seen, d, dv, terms)
        _by_token(dz, dq.shape[2] // dk.shape[2], found[place])
    _show(layer, clean, whole, moved[2], found, suffixes, first)
    return found


def _show(
    layer: int,
    clean: Clean,
    whole: Pattern,
    dv: Tensor,
    dz: Tensor,
    suffixes: Attended,
    first: int,
) -> None:
    """Values and z to who watches them."""
    watched = [kind for kind in ("values", "z") if kind in suffixes.observe]
    if not watched:
        return
    index, t = suffixes.packing.index(dz.device), suffixes.packing.t
    n_shared = clean.query.shape[1] // clean.key.shape[1]
    if "values" in watched:
        value = clean.value.transpose(1, 2)[index.sequence, index.target]
        seen = Seen("values", layer, "attention", value, dv[0].transpose(0, 1), index)
        suffixes.observe["values"](seen)
    if "z" in watched:
        of_tokens = _by_token(whole.mixture, n_shared)
        value = of_tokens[index.sequence * (t - first) + index.target - first]
        suffixes.observe["z"](Seen("z", layer, "attention", value, dz, index))


def _seen_pattern(
    layer: int, seen: Pattern, d: Tensor, segment: Segment, t: int, limit: bool
) -> Seen:
    length = t - segment.source
    changed = rules.softmax(seen.scores, seen.weights, d, limit)
    value, change = (
        each[..., :t].unflatten(-2, (length, -1)).transpose(-3, -2).flatten(-4, -3)
        for each in (seen.weights, changed)
    )
    return Seen("pattern", layer, "attention", value, change, segment)


def _by_token(mixture: Tensor, n_shared: int, found: Tensor | None = None) -> Tensor:
    """(.., key_head, token x shared, width) -> (.. x token, head, width), written there."""
    by_token = mixture.unflatten(-2, (-1, n_shared)).transpose(-4, -3)
    if found is None:
        return by_token.flatten(0, -4).flatten(1, 2)
    found.view(by_token.shape).copy_(by_token)
    return found


def _rows(states: Float[Tensor, "head packed d_head"], segment: Segment) -> Tensor:
    """(strength, sequence, head, token, d_head)."""
    shape = (segment.stop - segment.first, len(segment.sequences), -1)
    return states.unflatten(1, shape).movedim(0, 2)
