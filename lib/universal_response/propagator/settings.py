"""What is measured of a propagator."""

from dataclasses import dataclass

from universal_response.number_types import check_dtype
from universal_response.sequences import check_block


@dataclass(frozen=True, kw_only=True)
class PropagatorSettings:
    """A propagator on repeated random tokens, in the exact limit.

    Attributes:
        t0: length T0 of the repeated block.
        batch: number of sequences.
        sources: tokens perturbed in each sequence, drawn from those whose pair at T0 is there.
        seed: of the tokens and the sources.
        dtype: of the model.
        device: for the model.

    Raises:
        ValueError: a setting is out of range.
    """

    t0: int = 64
    batch: int = 16
    sources: int = 8
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"

    @property
    def distances(self) -> tuple[int, int, int]:
        """The dj at which the response is kept: T0 - 1, T0, and one of no meaning."""
        return self.t0 - 1, self.t0, self.t0 // 2

    def __post_init__(self) -> None:
        check_block(self.t0)
        check_dtype(self.dtype)
        if self.t0 < 4:
            raise ValueError(f"t0={self.t0}: a distance of no meaning needs a block; use t0 >= 4")
        if self.batch < 1:
            raise ValueError(f"batch={self.batch}: use at least one sequence, batch >= 1")
        if not 1 <= self.sources <= self.t0:
            raise ValueError(f"sources={self.sources}: use 1 to T0 = {self.t0} of them")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")


DEFAULT = PropagatorSettings()
