"""The controls, each with what is expected of it; written down before any was measured."""

from dataclasses import dataclass, replace
from functools import partial

from universal_response.measurement import Settings
from universal_response.perturbation import RandomDirection, Swap
from universal_response.sequences import Arrangement

PRESENT, ABSENT = "present", "absent"

# Where nothing repeats it is looked for where the peak would be.
_T0 = Settings.t0
_OTHER, _SHUFFLED = Arrangement(later="other"), Arrangement(later="shuffled")


@dataclass(frozen=True)
class Control:
    """One thing changed.

    Attributes:
        name: in the name of its file.
        words: what is measured.
        expected: whether the signature of induction is there, `present` or `absent`.
        settings: of the measurement.
        random_weights: whether the model has random weights.
        needs_bos: whether it is for models with a BOS token only.
    """

    name: str
    words: str
    expected: str
    settings: Settings
    random_weights: bool = False
    needs_bos: bool = False


_asked = partial(replace, Settings(epsilons=(), sources=8))

CONTROLS = (
    Control("repeated", "the paper's input", PRESENT, _asked()),
    *(
        Control(f"seed-{seed}", f"other tokens (seed {seed})", PRESENT, _asked(seed=seed))
        for seed in (1, 2, 3)
    ),
    Control("distinct", "no token twice by chance", PRESENT, _asked(distinct=True)),
    Control("t16", "blocks of 16", PRESENT, _asked(t0=16)),
    Control("t32", "blocks of 32", PRESENT, _asked(t0=32)),
    Control("t128", "blocks of 128", PRESENT, _asked(t0=128, batch=8)),
    Control("three", "a block three times", PRESENT, _asked(arrangement=Arrangement(copies=3))),
    Control("gap", "a gap of 16 other tokens", PRESENT, _asked(arrangement=Arrangement(gap=16))),
    Control(
        "bos", "BOS in front", PRESENT, _asked(arrangement=Arrangement(bos=True)), needs_bos=True
    ),
    Control(
        "direction", "a random direction in place of scaling", PRESENT,
        _asked(perturbation=RandomDirection(0)),
    ),
    Control(
        "swap", "towards another token in place of scaling", PRESENT, _asked(perturbation=Swap(100))
    ),
    Control(
        "unrepeated", "no token twice at all", ABSENT,
        _asked(arrangement=_OTHER, distinct=True, distance=_T0 - 1),
    ),
    Control(
        "unrelated", "two blocks of other tokens", ABSENT,
        _asked(arrangement=_OTHER, distance=_T0 - 1),
    ),
    Control(
        "shuffled", "the second block in another order", ABSENT,
        _asked(arrangement=_SHUFFLED, distance=_T0 - 1),
    ),
    Control("random-weights", "random weights", ABSENT, _asked(), random_weights=True),
)  # fmt: skip
