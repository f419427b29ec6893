"""What trained models owe to which heads: heads of layer 2 kept, dropped, added back, matching.

Shapes stand at the beginning of what each function says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from universal_response.training import progress
from universal_response.training.answers import logit_difference
from universal_response.training.clamping import Clamp, of_runs
from universal_response.training.clamps import dropped, kept, matched, path_dropped
from universal_response.training.model import HEADS, Model
from universal_response.training.passes import forward
from universal_response.training.task import Sequences


@dataclass(frozen=True)
class Score:
    """How well models answer.

    Attributes:
        accuracy: share of sequences.
        loss: mean over sequences.
        difference: logit of the right label less that of the wrong one, mean over sequences.
    """

    accuracy: Float[Tensor, "run *condition"]
    loss: Float[Tensor, "run *condition"]
    difference: Float[Tensor, "run *condition"]


@torch.no_grad()
def scored(model: Model, sequences: Sequences, clamps: Sequence[Clamp] = ()) -> Score:
    """(run): the models with these clamps, or as they are."""
    done = forward(model, sequences, clamps)
    return Score(progress.accuracy(done), progress.loss(done), logit_difference(done))


def keep_one(model: Model, sequences: Sequences) -> Score:
    """(run, head): one head alone adds to the output."""
    return scored_with(model, sequences, [kept(2, [head]) for head in range(HEADS)])


def drop_one(model: Model, sequences: Sequences) -> Score:
    """(run, head): one head adds nothing."""
    return scored_with(model, sequences, [dropped(2, [head]) for head in range(HEADS)])


def added_back(model: Model, sequences: Sequences) -> Score:
    """(run, n): the n = 1 .. 8 strongest heads, each run's own (`by_strength`), add alone."""
    order = by_strength(model, sequences).tolist()
    conditions = [of_runs([kept(2, run[:n]) for run in order]) for n in range(1, HEADS + 1)]
    return scored_with(model, sequences, conditions)


def without_path(model: Model, sequences: Sequences) -> Score:
    """(run): what layer 1 adds reaches the output through layer 2 alone."""
    return scored(model, sequences, path_dropped())


@torch.no_grad()
def by_strength(model: Model, sequences: Sequences) -> Int[Tensor, "run head"]:
    """Heads in descending order of induction strength."""
    return progress.induction_strength(forward(model, sequences)).argsort(1, descending=True)


def swept_strength(model: Model, sequences: Sequences, strengths: Sequence[float]) -> Score:
    """(run, strength): the strongest head adds alone, and attends to the labels alone.

    Args:
        model: several runs.
        sequences: of every run.
        strengths: attention to the right label less that to the wrong one, from -1 to 1. The sum
            is 1: attention to the right one, which `matched` takes, is (1 + strength) / 2.

    Raises:
        ValueError: a strength is out of range.
    """
    for strength in strengths:
        if not -1 <= strength <= 1:
            raise ValueError(f"strength={strength:g}: use -1 to 1")
    strongest = by_strength(model, sequences)[:, :1].tolist()
    conditions = [
        of_runs([kept(2, head) + matched((1 + strength) / 2, head) for head in strongest])
        for strength in strengths
    ]
    return scored_with(model, sequences, conditions)


def scored_with(model: Model, sequences: Sequences, conditions: Iterable[Sequence[Clamp]]) -> Score:
    """(run, condition)."""
    found = [scored(model, sequences, clamps) for clamps in conditions]
    names = ("accuracy", "loss", "difference")
    return Score(*(torch.stack([getattr(each, name) for each in found], 1) for name in names))
