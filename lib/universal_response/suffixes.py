"""Suffixes of sequences laid end to end in one forward pass, and the attention that serves them.

A perturbation at source i changes the tokens i .. T-1 only. Suffixes of different sources have
different lengths; laid end to end along the token axis, any number of them fill a pass without
padding. All of a transformer but its attention treats tokens one by one and does not notice.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad

KeysAndValues = tuple[
    Float[Tensor, "sequence head token d_head"], Float[Tensor, "sequence head token d_head"]
]


@dataclass(frozen=True)
class Segment:
    """The suffixes source .. T-1 of every sequence, at the strengths first .. stop - 1."""

    source: int
    first: int
    stop: int


@dataclass(frozen=True)
class Packing:
    """The tokens of one pass in the order (segment, strength, sequence, token).

    Attributes:
        segments: what is laid end to end.
        n_sequences: sequences in each segment.
        t: length T of a whole sequence.
    """

    segments: tuple[Segment, ...]
    n_sequences: int
    t: int

    @property
    def n_tokens(self) -> int:
        return sum(self._n_tokens(segment) for segment in self.segments)

    @property
    def rows(self) -> Iterator[tuple[Segment, slice]]:
        """Every segment with the place of its tokens in the pass."""
        start = 0
        for segment in self.segments:
            stop = start + self._n_tokens(segment)
            yield segment, slice(start, stop)
            start = stop

    def index(self, device: torch.device) -> "Index":
        """Where every token of the pass belongs."""
        columns = []
        for segment, place in self.rows:
            length = self.t - segment.source
            strength, sequence, token = torch.meshgrid(
                torch.arange(segment.first, segment.stop),
                torch.arange(self.n_sequences),
                torch.arange(length),
                indexing="ij",
            )
            row = torch.arange(strength[..., 0].numel()).view(strength.shape[:2])
            start = (place.start + length * row)[..., None].expand_as(token)
            source = torch.full_like(token, segment.source)
            columns.append(
                torch.stack([strength, sequence, source, token + source, start]).flatten(1)
            )
        return Index(*torch.cat(columns, dim=1).to(device))

    def _n_tokens(self, segment: Segment) -> int:
        return (segment.stop - segment.first) * self.n_sequences * (self.t - segment.source)


@dataclass(frozen=True)
class Index:
    """Of every token of a pass: its strength, sequence, source, target and where its row starts."""

    strength: Int[Tensor, " packed"]
    sequence: Int[Tensor, " packed"]
    source: Int[Tensor, " packed"]
    target: Int[Tensor, " packed"]
    start: Int[Tensor, " packed"]


def packings(
    n_sequences: int, t: int, n_strengths: int, tokens_per_pass: int, mixed: bool = True
) -> Iterator[Packing]:
    """All suffixes of all sources at all strengths, T (T + 1) / 2 tokens a sequence and strength.

    Args:
        n_sequences: sequences.
        t: their length T.
        n_strengths: perturbation strengths.
        tokens_per_pass: a pass is closed before it exceeds this; one suffix of every sequence at
            one strength is never split.
        mixed: whether one pass may hold several sources.
    """
    segments: list[Segment] = []
    room = tokens_per_pass
    for source in range(t):
        each = n_sequences * (t - source)
        first = 0
        if not mixed and segments:
            yield Packing(tuple(segments), n_sequences, t)
            segments, room = [], tokens_per_pass
        while first < n_strengths:
            fitting = min(max(room // each, 0 if segments else 1), n_strengths - first)
            if fitting == 0:
                yield Packing(tuple(segments), n_sequences, t)
                segments, room = [], tokens_per_pass
                continue
            segments.append(Segment(source, first, first + fitting))
            first += fitting
            room = max(room - fitting * each, 0)
    if segments:
        yield Packing(tuple(segments), n_sequences, t)


@dataclass
class Attended:
    """What the attention of a pass needs beside queries, keys and values.

    Attributes:
        packing: how the tokens are laid out.
        clean: keys and values of the whole unperturbed sequences, by layer.
        keep: write `clean` instead of reading it: the pass is that of the whole sequences.
    """

    packing: Packing
    clean: dict[int, KeysAndValues]
    keep: bool = False
    masks: dict[tuple, Tensor] = field(default_factory=dict)

    def mask(self, source: int, window: int | None, like: Tensor) -> Tensor:
        """0 where a token may look and -inf elsewhere, (suffix token, token), made once a pass."""
        key = (source, window, like.device)
        if key not in self.masks:
            observed = torch.arange(self.packing.t, device=like.device)
            observing = observed[source:, None]
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
    scaling: float,
    suffixes: Attended,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of suffixes laid end to end, each to itself and to the clean tokens left of it.

    Called by a Hugging Face attention module in place of its own; `query` (1, head, packed,
    d_head), `key` and `value` with fewer heads where queries share them.

    Returns:
        (1, packed, head, d_head), and None for the attention pattern.

    Raises:
        ValueError: the model asks for attention sinks.
    """
    if others.get("s_aux") is not None:
        raise ValueError("model: attention sinks are not supported; use a model without them")
    packing = suffixes.packing
    parts = []
    for segment, place in packing.rows:
        length = packing.t - segment.source
        q, k, v = (_rows(states[0, :, place], length) for states in (query, key, value))
        if suffixes.keep:
            suffixes.clean[module.layer_idx] = (k, v)
        elif segment.source > 0:
            keys, values = suffixes.clean[module.layer_idx]
            k = join(keys[:, :, : segment.source], k)
            v = join(values[:, :, : segment.source], v)
        mask = suffixes.mask(segment.source, sliding_window, query)
        mixed = weighted_values(q, k, v, mask, scaling, softcap)
        # (row, head, token, d_head) -> (row, token, head, d_head)
        parts.append(mixed.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None], None


def weighted_values(
    query: Float[Tensor, "row head suffix d_head"],
    key: Float[Tensor, "row key_head token d_head"],
    value: Float[Tensor, "row key_head token d_head"],
    mask: Float[Tensor, "suffix token"],
    scaling: float,
    softcap: float | None,
) -> Float[Tensor, "row head suffix d_head"]:
    """Softmax of the scores of queries and keys, times values; in float32 at least.

    By PyTorch's fused kernel where that will do, else step by step.

    Args:
        query: several heads may share one of `key` and `value`.
        key: of prefix and suffix.
        value: of prefix and suffix.
        mask: 0 where a token may look, -inf elsewhere; added to the scores.
        scaling: of the scores.
        softcap: bound that the scores approach, or None.
    """
    if fused_kernel_suffices(query, softcap):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
        )
    length = query.shape[2]
    # Queries that share a key are further rows of one matrix product.
    q = query.unflatten(1, (key.shape[1], -1)).flatten(2, 3) * scaling
    scores = q @ key.transpose(-2, -1)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.unflatten(2, (-1, length)).add_(mask)
    accurate = torch.promote_types(scores.dtype, torch.float32)
    weights = torch.softmax(scores, dim=-1, dtype=accurate).to(value.dtype)
    mixed = weights.flatten(2, 3) @ value
    return mixed.unflatten(2, (-1, length)).flatten(1, 2)


def fused_kernel_suffices(query: Tensor, softcap: float | None) -> bool:
    """PyTorch's fused attention knows neither a bound of the scores nor dual numbers."""
    return softcap is None and forward_ad.unpack_dual(query).tangent is None


def _rows(states: Float[Tensor, "head packed d_head"], length: int) -> Tensor:
    """(row, head, token, d_head), a row being one sequence at one strength."""
    return states.unflatten(1, (-1, length)).transpose(0, 1)


def join(
    prefix: Float[Tensor, "sequence head before d_head"],
    suffix: Float[Tensor, "row head after d_head"],
) -> Float[Tensor, "row head token d_head"]:
    """Keys or values of whole sequences; rows are the sequences repeated once per strength."""
    if prefix.shape[-2] == 0:
        return suffix
    repeats = suffix.shape[0] // prefix.shape[0]
    rows = prefix.expand(repeats, *prefix.shape).flatten(0, 1)
    return torch.cat([rows, suffix], dim=-2)
