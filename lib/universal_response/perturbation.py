"""What is done to one token's vector: the change at unit strength.

A perturbation of strength epsilon changes the vector x_i by epsilon times its direction; in the
limit of weak strengths the response per unit of epsilon is that to the direction itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

# Tensors (sequence token, d_model), not named so: settings are made before PyTorch is imported.
Vectors = Any
Embed = Callable[[int], Vectors]


@runtime_checkable
class Perturbation(Protocol):
    """Any first change that is proportional to its strength."""

    @property
    def name(self) -> str:
        """In words, for the attributes of results."""

    def direction(self, states: Vectors, replaced: Embed) -> Vectors:
        """The change of each state at unit strength.

        Args:
            states: clean vectors, (sequence token, d_model), in float64.
            replaced: gives the states at the transformer input with every token replaced by one.
        """


@dataclass(frozen=True)
class Scaling:
    """x -> (1 - epsilon) x, the paper's (Fig. 1).

    Attributes:
        name: in words, for the attributes of results.
    """

    name: str = "scaling"

    def direction(self, states: Vectors, replaced: Embed) -> Vectors:
        return -states


@dataclass(frozen=True, eq=False)
class Direction:
    """x -> x + epsilon |x| u, u the unit vector along a given one.

    Attributes:
        vector: tensor or array (d_model,), not all zero.
        name: in words, for the attributes of results.
    """

    vector: Any
    name: str = "direction"

    def direction(self, states: Vectors, replaced: Embed) -> Vectors:
        along = states.new_tensor(self.vector.tolist())
        width = states.shape[-1]
        if along.shape != (width,) or not (along.isfinite().all() and along.any()):
            raise ValueError(
                f"perturbation: give a direction of {width} finite numbers that are not all zero"
            )
        return states.norm(dim=-1, keepdim=True) * along / along.norm()


@dataclass(frozen=True)
class RandomDirection:
    """x -> x + epsilon |x| u, u a random unit vector, the same for every token.

    Attributes:
        seed: of the vector.
        name: in words, for the attributes of results.
    """

    seed: int = 0
    name: str = "random direction"

    def direction(self, states: Vectors, replaced: Embed) -> Vectors:
        drawn = np.random.default_rng(self.seed).standard_normal(states.shape[-1])
        return Direction(drawn).direction(states, replaced)


@dataclass(frozen=True)
class Swap:
    """x -> x + epsilon (y - x), y the vector of another token in the same place, at the input.

    Attributes:
        token: id of the other token.
        name: in words, for the attributes of results.
    """

    token: int
    name: str = "swap"

    def direction(self, states: Vectors, replaced: Embed) -> Vectors:
        return replaced(self.token).to(states) - states
