"""Sequences: junk, a block of distinct tokens, at times a gap, and the block again and again."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from universal_response.training.gpt2.curriculum import Phase

# How often the block does not follow itself at once, and by how many tokens at most: where it
# always did, a model could learn the distance instead of the token.
GAP_SHARE = 0.3
LONGEST_GAP = 16


@dataclass(frozen=True)
class Blocks:
    """Sequences of a phase.

    Attributes:
        tokens: junk, block, gap, block, block ...; junk and gap are of other tokens.
        positions: from an offset on, so that every position is trained.
        scored: tokens that can be told from those before: the second block from its second token
            on, and all that follow.
    """

    tokens: Int[Tensor, "sequence token"]
    positions: Int[Tensor, "sequence token"]
    scored: Bool[Tensor, "sequence token"]

    def to(self, device: torch.device) -> "Blocks":
        """The same on another device."""
        return Blocks(*(each.to(device) for each in (self.tokens, self.positions, self.scored)))


def generator_of_step(seed: int, step: int) -> np.random.Generator:
    """Source of the sequences of a step: of nothing but seed and step, so that none is kept."""
    return np.random.default_rng([seed, step, *b"blocks"])


def drawn(phase: Phase, context: int, generator: np.random.Generator) -> Blocks:
    """Sequences of one step, cut where the phase says, of which at least one token is scored.

    Args:
        phase: of the curriculum.
        context: number of positions.
        generator: source of randomness.
    """
    n, t = phase.batch, phase.length
    period = generator.integers(phase.shortest, phase.longest, (n, 1), endpoint=True)
    room = t - period - 2
    gap = generator.integers(1, LONGEST_GAP, (n, 1), endpoint=True)
    gap = np.minimum(np.where(generator.random((n, 1)) < GAP_SHARE, gap, 0), room)
    junk = generator.integers(0, np.minimum(period, room - gap), endpoint=True)
    offset = generator.integers(0, context - t, (n, 1), endpoint=True)
    order = generator.permuted(np.tile(np.arange(phase.tokens), (n, 1)), axis=1)
    place = np.arange(t)
    again = junk + period + gap
    tokens = np.take_along_axis(order, _numbers(place, period, junk, again, phase.tokens), 1)
    return Blocks(*map(torch.from_numpy, (tokens, offset + place, place > again)))


def _numbers(
    place: np.ndarray, period: np.ndarray, junk: np.ndarray, again: np.ndarray, tokens: int
) -> np.ndarray:
    """Which token of a sequence's own order stands at each place; the first ones are its block."""
    in_block = np.where(place >= again, (place - again) % period, place - junk)
    # Junk and gap go on through the other tokens, so that none comes twice before all have come.
    of_others = period + (place - period * (place >= junk + period)) % (tokens - period)
    is_block = ((place >= junk) & (place < junk + period)) | (place >= again)
    return np.where(is_block, in_block, of_others)
