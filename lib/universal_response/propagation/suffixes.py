"""Suffixes of sequences laid end to end in one forward pass.

A perturbation at source i changes the tokens i .. T-1 only. Suffixes of different sources have
different lengths; laid end to end along the token axis, any number of them fill a pass without
padding. All of a transformer but its attention treats tokens one by one and does not notice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Segment:
    """The suffixes source .. T-1 of some sequences, at the strengths first .. stop - 1."""

    source: int
    sequences: tuple[int, ...]
    first: int
    stop: int

    @property
    def n_rows(self) -> int:
        """Suffixes in it."""
        return (self.stop - self.first) * len(self.sequences)


@dataclass(frozen=True)
class Packing:
    """The tokens of one pass in the order (segment, strength, sequence, token).

    Attributes:
        segments: what is laid end to end.
        t: length T of a whole sequence.
    """

    segments: tuple[Segment, ...]
    t: int

    @property
    def n_tokens(self) -> int:
        return sum(segment.n_rows * (self.t - segment.source) for segment in self.segments)

    @property
    def rows(self) -> Iterator[tuple[Segment, slice]]:
        """Every segment with the place of its tokens in the pass."""
        start = 0
        for segment in self.segments:
            stop = start + segment.n_rows * (self.t - segment.source)
            yield segment, slice(start, stop)
            start = stop

    def index(self, device: torch.device) -> "Index":
        """Where every token of the pass belongs."""
        columns = []
        for segment, place in self.rows:
            length = self.t - segment.source
            strength, sequence, token = torch.meshgrid(
                torch.arange(segment.first, segment.stop),
                torch.tensor(segment.sequences),
                torch.arange(length),
                indexing="ij",
            )
            row = torch.arange(segment.n_rows).view(strength.shape[:2])
            start = (place.start + length * row)[..., None].expand_as(token)
            source = torch.full_like(token, segment.source)
            columns.append(
                torch.stack([strength, sequence, source, token + source, start]).flatten(1)
            )
        return Index(*torch.cat(columns, dim=1).to(device))


@dataclass(frozen=True)
class Index:
    """Of every token of a pass: its strength, sequence, source, target and where its row starts."""

    strength: Int[Tensor, " packed"]
    sequence: Int[Tensor, " packed"]
    source: Int[Tensor, " packed"]
    target: Int[Tensor, " packed"]
    start: Int[Tensor, " packed"]


def packings(
    sources: Int[Tensor, "sequence source"],
    t: int,
    n_strengths: int,
    tokens_per_pass: int,
    mixed: bool = True,
) -> Iterator[Packing]:
    """All suffixes of the sources of every sequence at all strengths.

    Args:
        sources: which tokens of each sequence are perturbed.
        t: length T of the sequences.
        n_strengths: perturbation strengths.
        tokens_per_pass: a pass is closed before it exceeds this; one suffix of every sequence at
            one strength is never split.
        mixed: whether one pass may hold several sources.
    """
    by_source: dict[int, list[int]] = {}
    for sequence, row in enumerate(sources.tolist()):
        for source in row:
            by_source.setdefault(source, []).append(sequence)
    segments: list[Segment] = []
    room = tokens_per_pass
    for source in sorted(by_source):
        sequences = tuple(by_source[source])
        each = len(sequences) * (t - source)
        first = 0
        if not mixed and segments:
            yield Packing(tuple(segments), t)
            segments, room = [], tokens_per_pass
        while first < n_strengths:
            fitting = min(max(room // each, 0 if segments else 1), n_strengths - first)
            if fitting == 0:
                yield Packing(tuple(segments), t)
                segments, room = [], tokens_per_pass
                continue
            segments.append(Segment(source, sequences, first, first + fitting))
            first += fitting
            room = max(room - fitting * each, 0)
    if segments:
        yield Packing(tuple(segments), t)
