"""Clamps: an activation is given a value, or a rule for it, and all that follows computes on.

Gradients flow through everything that is not clamped, and through what a rule makes of other
activations. A clamp works in evaluation and throughout training alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from universal_response.training.passes import Pass

_OF_LAYER = (
    *("query_input", "key_input", "value_input", "q", "k", "v"),
    *("scores", "pattern", "z", "out", "x"),
)
# In the order in which a pass makes them.
ACTIVATIONS = (
    "x0",
    *(f"{name}{layer}" for layer in (1, 2) for name in _OF_LAYER),
    "normed",
    "logits",
)
# Called with what the pass gives here, and with the pass so far.
Rule = Callable[[Tensor, "Pass"], Tensor]


@dataclass(frozen=True, eq=False)
class Clamp:
    """An activation and what it is to be.

    Attributes:
        name: one of `ACTIVATIONS`.
        to: a tensor of the activation's shape, or a rule that makes one.
        about: what it does, in words; checkpoints tell clamps apart by name and these.

    Raises:
        ValueError: there is no such activation.
    """

    name: str
    to: Tensor | Rule = field(repr=False)
    about: str = ""

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ValueError(
                f"clamp={self.name}: no such activation; choose one of {', '.join(ACTIVATIONS)}"
            )

    def applied(self, value: Tensor, done: "Pass") -> Tensor:
        """The activation, clamped.

        Raises:
            ValueError: its shape would change.
        """
        found = self.to if isinstance(self.to, Tensor) else self.to(value, done)
        if found.shape != value.shape:
            raise ValueError(
                f"clamp={self.name}: its shape {tuple(found.shape)} is not that of the activation; "
                f"give {tuple(value.shape)}"
            )
        return found.to(value)


def of_runs(by_run: Sequence[Sequence[Clamp]]) -> tuple[Clamp, ...]:
    """Clamps of stacked runs, each with its own, as clamps of all.

    Args:
        by_run: of every run its clamps; one that several runs share is computed once.
    """
    found: dict[tuple[int, Clamp], list[int]] = {}
    for run, clamps in enumerate(by_run):
        for place, clamp in enumerate(clamps):
            found.setdefault((place, clamp), []).append(run)
    # Every run keeps the order of its own.
    ordered = sorted(found.items(), key=lambda item: item[0][0])
    return tuple(_restricted(clamp, runs, len(by_run)) for (_, clamp), runs in ordered)


def _restricted(clamp: Clamp, runs: list[int], n_runs: int) -> Clamp:
    """A clamp of some of the runs."""
    if len(runs) == n_runs:
        return clamp
    chosen = torch.zeros(n_runs, dtype=torch.bool)
    chosen[runs] = True

    def rule(value: Tensor, done: "Pass") -> Tensor:
        if len(value) != n_runs:
            raise ValueError(
                f"clamps: of {n_runs} runs, the model has {len(value)}; give each run its clamps"
            )
        here = chosen.to(value.device).view(-1, *[1] * (value.ndim - 1))
        return torch.where(here, clamp.applied(value, done), value)

    return Clamp(clamp.name, rule, clamp.about)
