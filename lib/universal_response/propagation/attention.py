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
from universal_response.propagation.entries import value_and_change
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
        editing: what is done to it.
        masks: 0 where a token may look and -inf elsewhere, made once.
    """

    packing: Packing
    clean: dict[int, Clean]
    observe: Observers = field(default_factory=dict)
    editing: Any = None  # `Editing` or `Capturing`
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

    def frozen(self, layer: int, n_heads: int, like: Tensor) -> list[Tensor | None]:
        """Of pattern and values, which heads of a layer do not change: (head,); None if all do."""
        if self.editing is None:
            return [None, None]
        return [self.editing.frozen(layer, what, n_heads, like) for what in ("pattern", "values")]


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
    layer, editing = module.layer_idx, suffixes.editing
    if editing is not None:
        query, key, value = editing.inputs(layer, query, key, value)
    if not isinstance(query, Carried):
        z = _clean_attention(layer, query, key, value, suffixes, form)
    elif isinstance(key, Carried) and isinstance(value, Carried):
        z = _carried_attention(layer, query, key, value, suffixes, form)
    else:
        raise NoRule("attention: keys or values that do not change")
    if editing is not None:
        z = editing.mixture(layer, z)
    if "values" in suffixes.observe:
        _show("values", layer, value[0].transpose(0, 1), suffixes)
    if "z" in suffixes.observe:
        # What is shown is what goes on, for gradients with respect to it.
        mixed = z[0]
        _show("z", layer, mixed, suffixes)
        z = mixed[None]
    return z, None


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
    found = pattern(clean, 0, suffixes.mask(0, form.window, q), form)
    if "pattern" in suffixes.observe:
        (segment,) = suffixes.packing.segments
        weights = _by_head(found.weights, t, t)
        seen = Seen("pattern", layer, "attention", weights, None, segment)
        suffixes.observe["pattern"](seen)
    return _by_token(found.mixture, q.shape[1] // k.shape[1])[None].to(query.dtype)


def _carried_attention(
    layer: int, query: Carried, key: Carried, value: Carried, suffixes: Attended, form: Form
) -> Carried:
    """Of suffixes laid end to end: (1, packed, head, d_head)."""
    first = min(segment.source for segment in suffixes.packing.segments)
    clean = suffixes.clean[layer]
    # One pattern serves all suffixes of the pass.
    whole = pattern(clean, first, suffixes.mask(first, form.window, clean.query), form)
    moved = (query.change, key.change, value.change)
    found = changes(layer, whole, first, moved, suffixes, form, query.terms)

    def mixture() -> Tensor:
        of_tokens = _by_token(whole.mixture, clean.query.shape[1] // clean.key.shape[1])
        index, t = suffixes.packing.index(found.device), suffixes.packing.t
        return of_tokens[index.sequence * (t - first) + index.target - first][None]

    return Carried(mixture, found[None], query.terms, query.dtype)


def changes(
    layer: int,
    whole: Pattern,
    first: int,
    moved: tuple[Tensor, Tensor, Tensor],
    suffixes: Attended,
    form: Form,
    terms: Terms,
) -> Float[Tensor, "packed head d_head"]:
    """Changes of what is mixed, from those of queries, keys, values (1, head, packed, d_head).

    Args:
        layer: the block.
        whole: clean pattern of the queries first .. T-1.
        first: the first source of the pass.
        moved: changes of queries, keys and values.
        suffixes: layout, who watches, and what is frozen.
        form: of the attention.
        terms: how changes are carried.
    """
    watch = suffixes.observe.get("pattern")
    n_heads, n_key_heads = moved[0].shape[1], moved[1].shape[1]
    still = suffixes.frozen(layer, n_heads, whole.weights)
    found = torch.empty_like(moved[0][0].transpose(0, 1), memory_format=torch.contiguous_format)
    for segment, place in suffixes.packing.rows:
        seen = of_segment(whole, segment, first)
        dq, dk, dv = (_rows(each[0, :, place], segment) for each in moved)
        d = score_changes(seen, dq, dk, form, terms.limit)
        # Of every row of a pattern whether its head is frozen.
        pattern_still, values_still = (_of_rows(each, n_key_heads, d) for each in still)
        if pattern_still is not None:
            d = d.masked_fill_(pattern_still, 0)
        if watch is not None:
            watch(_seen_pattern(layer, seen, d, segment, suffixes.packing.t, terms.limit))
        if values_still is None:
            dz = mixture_changes(seen, d, dv, terms)
        else:
            without = mixture_changes(seen, d.clone(), torch.zeros_like(dv), terms)
            dz = torch.where(values_still, without, mixture_changes(seen, d, dv, terms))
        _by_token(dz, n_heads // n_key_heads, found[place])
    return found


def _of_rows(frozen: Tensor | None, n_key_heads: int, d: Tensor) -> Tensor | None:
    """Heads (head,) -> (key_head, row, 1), rows in the order (query, head that shares the key)."""
    if frozen is None:
        return None
    by_key = frozen.view(n_key_heads, 1, -1)
    return by_key.expand(-1, d.shape[-2] // by_key.shape[-1], -1).flatten(1)[..., None]


def _show(kind: str, layer: int, state: Tensor, suffixes: Attended) -> None:
    """Values or z (packed, head, d_head) to who watches them."""
    value, change = value_and_change(state)
    index = suffixes.packing.index(state.device)
    suffixes.observe[kind](Seen(kind, layer, "attention", value, change, index))


def _seen_pattern(
    layer: int, seen: Pattern, d: Tensor, segment: Segment, t: int, limit: bool
) -> Seen:
    changed = rules.softmax(seen.scores, seen.weights, d, limit)
    length = t - segment.source
    value, change = (_by_head(each, length, t) for each in (seen.weights, changed))
    return Seen("pattern", layer, "attention", value, change, segment)


def _by_head(weights: Tensor, length: int, t: int) -> Tensor:
    """(.., key_head, query x shared, key) -> (.., head, query, key), without a sink."""
    return weights[..., :t].unflatten(-2, (length, -1)).transpose(-3, -2).flatten(-4, -3)


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
