"""The task: which of two labels stood behind the letter that comes back (E1 L1 E2 L2 Q)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from universal_response.training.exemplars import N_CLASSES

N_UNSEEN = 100
N_TOKENS = 5
LABEL_TOKENS = (1, 3)
# Classes and label pairs of training; other classes; other pairs of the same labels.
SPLITS = ("training", "unseen", "relabelled")
HELD_OUT = 0.2  # of the label pairs


@dataclass(frozen=True)
class Sequences:
    """Sequences of the task.

    Attributes:
        classes: of the two exemplars and of the query.
        labels: behind the two exemplars.
        answer: which of the two exemplars, 0 or 1, the query repeats.
    """

    classes: Int[Tensor, "*batch 3"]
    labels: Int[Tensor, "*batch 2"]
    answer: Int[Tensor, "*batch"]

    @property
    def target(self) -> Int[Tensor, "*batch"]:
        """The label that is asked for."""
        return self.labels.gather(-1, self.answer[..., None])[..., 0]

    def __getitem__(self, index: Any) -> "Sequences":
        return Sequences(self.classes[index], self.labels[index], self.answer[index])

    def to(self, device: torch.device | str) -> "Sequences":
        """The same on another device."""
        return Sequences(*(each.to(device) for each in (self.classes, self.labels, self.answer)))


@dataclass(frozen=True)
class Split:
    """Classes and label pairs, and all sequences that can be made of them.

    Attributes:
        classes: numbers of the classes.
        pairs: of labels, the smaller first.
    """

    classes: Int[Tensor, " class"]
    pairs: Int[Tensor, "pair 2"]

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return len(self.classes) * (len(self.classes) - 1) * 2 * len(self.pairs) * 2

    def sequences(self, numbers: Int[Tensor, "*batch"]) -> Sequences:
        """Those with these numbers, 0 .. count - 1."""
        rest, answer = _divided(numbers, 2)
        rest, turned = _divided(rest, 2)
        rest, pair = _divided(rest, len(self.pairs))
        first, second = _divided(rest, len(self.classes) - 1)
        # Of the other classes.
        second = second + (second >= first)
        shown = self.classes[torch.stack([first, second], -1)]
        asked = shown.gather(-1, answer[..., None])
        labels = self.pairs[pair]
        labels = torch.where(turned[..., None] == 1, labels.flip(-1), labels)
        return Sequences(torch.cat([shown, asked], -1), labels, answer)

    def drawn(self, n: int, generator: torch.Generator) -> Sequences:
        """n of them, each as likely as any other."""
        return self.sequences(torch.randint(self.count, (n,), generator=generator))


def _divided(numbers: Tensor, by: int) -> tuple[Tensor, Tensor]:
    return numbers // by, numbers % by


@dataclass(frozen=True, kw_only=True)
class Task:
    """Which classes and labels there are, and which of them are held out.

    Attributes:
        classes: classes seen in training.
        labels: labels; a fifth of their pairs never occurs in training.
        seed: of the choice of classes and pairs.

    Raises:
        ValueError: a number is out of range.
    """

    classes: int = 50
    labels: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        most = N_CLASSES - N_UNSEEN
        if not 2 <= self.classes <= most:
            raise ValueError(f"classes={self.classes}: use 2 to {most} of them")
        if self.labels < 4:
            raise ValueError(
                f"labels={self.labels}: no pair could be held out; use at least 4 labels"
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")

    def split(self, name: str) -> Split:
        """One of `SPLITS`.

        Raises:
            ValueError: another name.
        """
        if name not in SPLITS:
            raise ValueError(f"split={name}: choose one of {', '.join(SPLITS)}")
        generator = np.random.default_rng(self.seed)
        order = torch.from_numpy(generator.permutation(N_CLASSES))
        known, held_out = self._pairs(generator)
        return Split(
            order[-N_UNSEEN:] if name == "unseen" else order[: self.classes],
            held_out if name == "relabelled" else known,
        )

    def _pairs(self, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Label pairs of training, in which every label occurs, and those held out."""
        pairs = torch.combinations(torch.arange(self.labels))
        n = int(HELD_OUT * len(pairs))
        while True:
            mixed = pairs[torch.from_numpy(generator.permutation(len(pairs)))]
            if len(mixed[n:].unique()) == self.labels:
                return mixed[n:], mixed[:n]


def stacked(sequences: Sequence[Sequences]) -> Sequences:
    """Sequences of several runs, with the run as first axis."""
    return Sequences(
        torch.stack([each.classes for each in sequences]),
        torch.stack([each.labels for each in sequences]),
        torch.stack([each.answer for each in sequences]),
    )


def generator_of(seed: int, use: str) -> torch.Generator:
    """A source of random numbers: of one seed, independent for every use."""
    state = np.random.SeedSequence([seed, *use.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
