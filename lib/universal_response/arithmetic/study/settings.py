"""What is measured of a small model that adds."""

from dataclasses import dataclass

from universal_response.number_types import check_dtype


@dataclass(frozen=True, kw_only=True)
class ArithmeticSettings:
    """A study of a model that adds. Nodes are chosen, means taken and effects measured on different
    problems, half of them sums.

    Attributes:
        chosen_on: problems on which nodes and neurons are ranked, and the circuit is chosen.
        means_of: problems over which the means are taken that replace nodes.
        evaluated_on: problems on which effects are measured.
        probed_on: problems for linear probes; a quarter is held out.
        perturbed_on: problems for each sum of both units, for response functions.
        likely_of: most problems of each kind whose likelihood is kept.
        draws: of random circuits, as controls.
        faithful: part of the model's accuracy from which a circuit suffices.
        seed: of problems, donors and draws.
        dtype: of the model.
        device: for the model.

    Raises:
        ValueError: a setting is out of range.
    """

    chosen_on: int = 256
    means_of: int = 512
    evaluated_on: int = 256
    probed_on: int = 1200
    perturbed_on: int = 32
    likely_of: int = 500
    draws: int = 20
    faithful: float = 0.95
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        for name in ("chosen_on", "means_of", "evaluated_on", "probed_on"):
            if getattr(self, name) < 16 or getattr(self, name) % 2:
                raise ValueError(
                    f"{name}={getattr(self, name)}: half are sums; use an even number >= 16"
                )
        for name in ("perturbed_on", "likely_of", "draws"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}={getattr(self, name)}: errors need 2; use >= 2")
        if not 0 < self.faithful <= 1:
            raise ValueError(f"faithful={self.faithful:g}: use 0 < faithful <= 1")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")
