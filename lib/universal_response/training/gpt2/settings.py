"""What is trained: a network, its curriculum and its optimizers, checked where they are made."""

from dataclasses import dataclass, fields

from universal_response.models import check_device
from universal_response.training.gpt2.curriculum import CURRICULUM, Phase


@dataclass(frozen=True, kw_only=True)
class Network:
    """A GPT-2 with tied embeddings and without dropout.

    Attributes:
        layers: blocks, L.
        width: of the residual stream.
        heads: in a block.
        inner: width of an MLP.
        vocabulary: number of tokens.
        context: the most tokens of a sequence.
        norm_epsilon: added to the variance in every norm; small, or it notices how long a token's
            vector is.

    Raises:
        ValueError: a number is out of range.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    inner: int = 256
    vocabulary: int = 512
    context: int = 256
    norm_epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) <= 0:
                raise ValueError(f"{each.name}={getattr(self, each.name)}: use a number > 0")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width={self.width}: use a multiple of 2 * heads = {2 * self.heads}, of which "
                "each head gets as much"
            )


@dataclass(frozen=True, kw_only=True)
class Gpt2Settings:
    """A training of a small GPT-2. The rates are those after the warm-up.

    Attributes:
        seed: of the initial weights and of the sequences.
        phases: of the curriculum, in order.
        network: what is trained.
        matrix_rate: of Muon, for the matrices inside the blocks.
        rate: of AdamW, for everything else.
        weight_decay: of both.
        warm_up: steps over which the rates rise.
        decay: part of all steps, the last ones, over which the rates fall to zero.
        clip: largest norm of the gradient.
        every: steps between checkpoints.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        ValueError: a setting is out of range.
    """

    seed: int = 0
    phases: tuple[Phase, ...] = CURRICULUM
    network: Network = Network()
    matrix_rate: float = 0.03
    rate: float = 3e-3
    weight_decay: float = 0.01
    warm_up: int = 100
    decay: float = 0.3
    clip: float = 1.0
    every: int = 50
    device: str = "auto"

    @property
    def steps(self) -> int:
        """Of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def ends(self) -> list[int]:
        """Steps done at the end of each phase."""
        return [sum(phase.steps for phase in self.phases[: n + 1]) for n in range(len(self.phases))]

    def phase_of(self, step: int) -> int:
        """Number of the phase to which a step belongs, of 1 .. steps."""
        return next(number for number, end in enumerate(self.ends) if step <= end)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")
        if not self.phases:
            raise ValueError("phases=(): give at least one")
        for phase in self.phases:
            if phase.tokens > self.network.vocabulary:
                raise ValueError(
                    f"tokens={phase.tokens}: use no more than vocabulary = "
                    f"{self.network.vocabulary}"
                )
            if phase.length > self.network.context:
                raise ValueError(
                    f"length={phase.length}: use no more than context = {self.network.context}"
                )
        for name in ("matrix_rate", "rate", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name):g}: use a number > 0")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay:g}: use a number >= 0")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay={self.decay:g}: use 0 < decay <= 1")
        for name in ("warm_up", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: use at least 1")
        check_device(self.device)
