"""What is done to one token's vector: the change at unit strength.

A perturbation of strength epsilon changes the vector x_i by epsilon times its direction; in the
limit of weak strengths the response per unit of epsilon is that to the direction itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Embed = Callable[[Tensor], Tensor]


@runtime_checkable
class Perturbation(Protocol):
    """Any first change that is proportional to its strength."""

    @property
    def name(self) -> str:
        """In words, for the attributes of results."""

    def direction(
        self, states: Float[Tensor, "token d_model"], replaced: Embed
    ) -> Float[Tensor, "token d_model"]:
        """The change of each state at unit strength.

        Args:
            states: clean vectors, (sequence token, d_model), in float64.
            replaced: gives the states at the transformer input with every token replaced by one.
        """


@dataclass(frozen=True)
class Scaling:
    """x -> (1 - epsilon) x, the paper's (Fig. 1)."""

    name: str = "scaling"

    def direction(self, states: Tensor, replaced: Embed) -> Tensor:
        return -states


@dataclass(frozen=True, eq=False)
class Direction:
    """x -> x + epsilon |x| u, u the unit vector along a given one.

    Attributes:
        vector: (d_model,), not zero.
    """

    vector: Float[Tensor, " d_model"]
    name: str = "direction"

    def direction(self, states: Tensor, replaced: Embed) -> Tensor:
        along = torch.as_tensor(self.vector).to(states)
        width = states.shape[-1]
        if along.shape != (width,) or not (along.isfinite().all() and along.any()):
            raise ValueError(
                f"perturbation: give a direction of {width} finite numbers that are not all zero"
            )
        return states.norm(dim=-1, keepdim=True) * along / along.norm()


@dataclass(frozen=True)
class Swap:
    """x -> x + epsilon (y - x), y the vector of another token in the same place, at the input.

    Attributes:
        token: id of the other token.
    """

    token: int
    name: str = "swap"

    def direction(self, states: Tensor, replaced: Embed) -> Tensor:
        return replaced(torch.tensor(self.token)).to(states) - states
