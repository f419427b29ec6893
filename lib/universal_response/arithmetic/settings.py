"""What is trained: a small Llama, on which problems, and how."""

from dataclasses import dataclass

from universal_response.arithmetic.splits import check_split


@dataclass(frozen=True, kw_only=True)
class AdderSettings:
    """A training of a small model of the Llama architecture to add and subtract.

    Attributes:
        seed: of what is held out, of the initial weights and of the order of problems.
        withheld: of which kind training has none, one of `WITHHELD`.
        digits: of an operand.
        layers: blocks, L.
        width: of the residual stream.
        heads: in a block.
        inner: neurons of an MLP.
        steps: of AdamW.
        batch: problems in a step.
        rate: of AdamW, after the warm-up; it falls to zero along a cosine.
        warm_up: steps over which the rate rises.
        weight_decay: of the matrices.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        ValueError: a setting is out of range.
    """

    seed: int = 0
    withheld: str = "nothing"
    digits: int = 2
    layers: int = 2
    width: int = 64
    heads: int = 4
    inner: int = 256
    steps: int = 1200
    batch: int = 512
    rate: float = 3e-3
    warm_up: int = 60
    weight_decay: float = 0.1
    device: str = "auto"

    def __post_init__(self) -> None:
        check_split(self.withheld, self.seed)
        for name in ("digits", "layers", "width", "heads", "inner", "steps", "batch", "warm_up"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: use at least 1")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width={self.width}: use a multiple of 2 * heads = {2 * self.heads}, as rotary "
                "positions turn pairs"
            )
        if self.rate <= 0:
            raise ValueError(f"rate={self.rate:g}: use a number > 0")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay={self.weight_decay:g}: use a number >= 0")
