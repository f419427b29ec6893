"""Response of the query to a weak change of a label: does the right label matter more?

The label token is scaled, x -> (1 - epsilon) x, and the change is carried, not subtracted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response import propagation
from universal_response.training.clamping import Clamp
from universal_response.training.model import Model
from universal_response.training.passes import forward
from universal_response.training.task import LABEL_TOKENS, Sequences


@dataclass(frozen=True)
class LabelResponse:
    """How strongly the query at the end of layer 2 responds, |D| / |x|.

    Attributes:
        correct: to the label that is asked for, of every sequence.
        wrong: to the other one.
    """

    correct: Float[Tensor, "run sequence"]
    wrong: Float[Tensor, "run sequence"]

    @property
    def contrast(self) -> Float[Tensor, " run"]:
        """S, of the means over sequences."""
        return contrast(self.correct.mean(1), self.wrong.mean(1))


def contrast(correct: Any, wrong: Any) -> Any:
    """S: the difference of two responses, tensors or arrays, in parts of their sum."""
    return (correct - wrong) / (correct + wrong)


def label_response(
    model: Model,
    sequences: Sequences,
    epsilon: float | None = None,
    clamps: Sequence[Clamp] = (),
) -> LabelResponse:
    """Scale each of the two labels by itself.

    Args:
        model: several runs; one trained with a norm_epsilon of 1e-12, or the norms leak.
        sequences: of every run.
        epsilon: strength, or None for the limit of weak ones, divided by it.
        clamps: of the pass.
    """
    by_place = torch.stack(
        [_at_the_query(model, sequences, token, epsilon, clamps) for token in LABEL_TOKENS]
    )
    right = sequences.answer[None]
    correct, wrong = (by_place.gather(0, place)[0] for place in (right, 1 - right))
    return LabelResponse(correct, wrong)


def _at_the_query(
    model: Model,
    sequences: Sequences,
    token: int,
    epsilon: float | None,
    clamps: Sequence[Clamp],
) -> Float[Tensor, "run sequence"]:
    value, change = carried(model, sequences, token, "x2", epsilon, clamps)
    return change[:, :, -1].norm(dim=-1) / value[:, :, -1].norm(dim=-1)


def carried(
    model: Model,
    sequences: Sequences,
    token: int,
    name: str,
    epsilon: float | None = None,
    clamps: Sequence[Clamp] = (),
) -> tuple[Tensor, Tensor]:
    """An activation, and its change where one token is scaled, in float64.

    Args:
        model: several runs.
        sequences: of every run.
        token: the one that is scaled.
        name: of the activation.
        epsilon: strength; None for the derivative by it, at 0.
        clamps: of the pass.
    """
    model = model.to(torch.float64)
    x = forward(model, sequences, clamps)["x0"].detach()
    change = torch.zeros_like(x)
    change[:, :, token] = -x[:, :, token] * (1.0 if epsilon is None else epsilon)

    def activation(x: Tensor) -> Tensor:
        return forward(model, sequences, (*clamps, Clamp("x0", x)))[name]

    return propagation.carry(activation, x, change, limit=epsilon is None)
