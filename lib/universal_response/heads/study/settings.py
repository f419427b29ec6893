"""What is measured of a model's heads."""

from dataclasses import dataclass

from universal_response.number_types import check_dtype
from universal_response.sequences import check_block


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """A study of heads on repeated random tokens. Heads are chosen, means taken and effects
    measured on different sequences.

    Attributes:
        t0: length T0 of the repeated block.
        chosen_on: sequences on which heads are chosen.
        means_of: sequences over which the means are taken that replace heads.
        evaluated_on: sequences on which behaviour and the split response are measured.
        mapped_on: as many of them for maps that need a run for each head.
        patched_on: as many of them for patching, of a run for each head and each edge.
        perturbed_on: as many of them for the response of an edited model.
        sources: tokens perturbed in each sequence, of the first block.
        draws: of random heads, as controls.
        epsilon: strength of the perturbation beside the limit.
        least_score: attention along its stripe from which a head is called by it.
        seed: of tokens, sources and draws.
        dtype: of the model.
        device: for the model.

    Raises:
        ValueError: a setting is out of range.
    """

    t0: int = 64
    chosen_on: int = 16
    means_of: int = 32
    evaluated_on: int = 32
    mapped_on: int = 8
    patched_on: int = 4
    perturbed_on: int = 8
    sources: int = 8
    draws: int = 10
    epsilon: float = 0.05
    least_score: float = 0.3
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_block(self.t0)
        check_dtype(self.dtype)
        if self.t0 < 8:
            raise ValueError(f"t0={self.t0}: distances of no meaning need a block; use t0 >= 8")
        for name in ("chosen_on", "means_of", "evaluated_on"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}={getattr(self, name)}: errors need 2 sequences; use >= 2")
        for name in ("mapped_on", "patched_on", "perturbed_on"):
            if not 1 <= getattr(self, name) <= self.evaluated_on:
                raise ValueError(
                    f"{name}={getattr(self, name)}: use 1 to evaluated_on={self.evaluated_on}"
                )
        if not 1 <= self.sources <= self.t0:
            raise ValueError(f"sources={self.sources}: use 1 to t0={self.t0}")
        if self.draws < 2:
            raise ValueError(f"draws={self.draws}: a spread needs 2 draws; use >= 2")
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"epsilon={self.epsilon:g}: use 0 < epsilon <= 1")
        if not 0 < self.least_score < 1:
            raise ValueError(f"least_score={self.least_score:g}: use 0 < least_score < 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")

    @property
    def distances(self) -> tuple[int, ...]:
        """dj of the window around T0, and a control of no meaning before it."""
        return (self.control, *range(self.t0 - 5, self.t0 + 6))

    @property
    def compared(self) -> list[int]:
        """The three dj that are looked at along l: of no meaning, T0 - 1 and T0."""
        return [self.control, self.t0 - 1, self.t0]

    @property
    def control(self) -> int:
        """A dj at which nothing repeats."""
        return 5 * self.t0 // 8
