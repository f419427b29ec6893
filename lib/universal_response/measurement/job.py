"""A measurement down to its parts: tokens, sources, and the shards it is measured in."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.settings import Settings, sources_of, tokens_of
from universal_response.measurement.subject import Subject, describe
from universal_response.number_types import dtype_name
from universal_response.propagation import choose_products

# No more than this is lost when a measurement is killed.
SEQUENCES_PER_SHARD = 2


@dataclass(frozen=True)
class Job:
    """A measurement, down to what every shard of it needs.

    Attributes:
        subject: the model.
        settings: with `products` decided and the `dtype` that the model has.
        tokens: (sequence, token).
        sources: the perturbed tokens, (sequence, source).
        effect: of the number type of products, `Choice.effect`.
    """

    subject: Subject
    settings: Settings
    tokens: np.ndarray
    sources: np.ndarray
    effect: float


@dataclass(frozen=True)
class Shard:
    """Some sequences, at all finite strengths or in the linear limit."""

    first: int
    stop: int
    linear: bool

    @property
    def file(self) -> str:
        return f"{'linear' if self.linear else 'finite'}-{self.first:04d}-{self.stop:04d}.npz"


def shards_of(job: Job) -> list[Shard]:
    """All shards of a measurement, of equal size as far as possible: they run equally fast."""
    n = len(job.tokens)
    n_shards = math.ceil(n / (job.settings.sequences_per_chunk or SEQUENCES_PER_SHARD))
    edges = np.linspace(0, n, n_shards + 1).round().astype(int)
    kinds = [False] * bool(job.settings.epsilons) + [True] * job.settings.linear
    return [Shard(int(a), int(b), linear) for linear in kinds for a, b in pairwise(edges)]


def token_passes(job: Job, shard: Shard) -> int:
    """Tokens passed through the model for a shard: T - i for every source and strength."""
    passes = int((job.tokens.shape[1] - job.sources[shard.first : shard.stop]).sum())
    return passes * (1 if shard.linear else len(job.settings.epsilons))


def prepare(model: TransformerBridge, settings: Settings) -> Job:
    """A measurement in all detail.

    Args:
        model: that is measured, as it is.
        settings: what to measure.

    Raises:
        ValueError: the model has no such position, token or context, or no such number type.
    """
    subject = describe(model)
    if settings.perturbed_position >= len(subject.positions):
        raise ValueError(
            f"perturbed_position={settings.perturbed_position}: the model has positions 0 to "
            f"{len(subject.positions) - 1}"
        )
    tokens = tokens_of(settings, subject.context, subject.vocabulary, subject.bos)
    sources = sources_of(settings)
    choice = choose_products(
        model,
        torch.from_numpy(tokens),
        settings.products,
        perturbation=settings.perturbation,
        perturbed_position=settings.perturbed_position,
    )
    decided = replace(settings, products=choice.products, dtype=dtype_name(subject.dtype))
    return Job(subject, decided, tokens, sources, choice.effect)
