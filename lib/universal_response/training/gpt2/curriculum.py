"""The curriculum: few tokens and short blocks first, then more and longer ones.

With all tokens at once induction does not form; with few it does within a hundred steps or two, and
each widening is then learned in some dozen. Blocks from two tokens on teach attention to the token
before.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of the curriculum.

    Attributes:
        tokens: in use, the first of the vocabulary.
        length: T, tokens of a sequence.
        batch: sequences of a step.
        shortest, longest: block, tokens.
        steps: of the optimizers.
        t0: length T0 of the repeated block on which the phase is looked at.

    Raises:
        ValueError: a number is out of range.
    """

    tokens: int
    length: int
    batch: int
    shortest: int
    longest: int
    steps: int
    t0: int

    def __post_init__(self) -> None:
        for name in ("batch", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: use at least 1")
        if not 2 <= self.shortest <= self.longest:
            raise ValueError(
                f"shortest={self.shortest}: use 2 <= shortest <= longest = {self.longest}"
            )
        if self.tokens <= self.longest:
            raise ValueError(
                f"tokens={self.tokens}: none is left beside a block; use more than longest = "
                f"{self.longest}"
            )
        if self.length < self.longest + 2:
            raise ValueError(
                f"length={self.length}: no block comes again; use at least longest + 2 = "
                f"{self.longest + 2}"
            )
        if not 2 <= self.t0 <= min(self.length // 2, self.tokens):
            raise ValueError(
                f"t0={self.t0}: two blocks must fit; use 2 to {min(self.length // 2, self.tokens)}"
            )


CURRICULUM = (
    Phase(tokens=24, length=24, batch=128, shortest=2, longest=8, steps=300, t0=8),
    Phase(tokens=64, length=40, batch=80, shortest=2, longest=16, steps=250, t0=16),
    Phase(tokens=160, length=64, batch=48, shortest=3, longest=28, steps=250, t0=24),
    Phase(tokens=512, length=96, batch=32, shortest=4, longest=44, steps=300, t0=40),
    Phase(tokens=512, length=144, batch=20, shortest=8, longest=68, steps=1000, t0=64),
)
