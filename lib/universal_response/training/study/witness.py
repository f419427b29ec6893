"""A short training in float64, made again to verify a results file."""

from dataclasses import replace

import xarray as xr

from universal_response.training.clamps import CLAMPS
from universal_response.training.learning import train
from universal_response.training.settings import Run, TrainingSettings
from universal_response.training.study.settings import StudySettings

SEQUENCES, EVERY, EVALUATED_ON = 3_200, 800, 64
KEPT = ("loss", "induction_strength", "response")


def witness(settings: StudySettings) -> xr.Dataset:
    """The first seed, as it is and with L1 and copy clamped, at ten times the usual rate.

    Returns:
        `witness_loss` and so on of the curves of a training, its dimensions named so too.
    """
    run = Run(seed=settings.seeds[0])
    asked = TrainingSettings(
        runs=(run, replace(run, clamps=CLAMPS["L1 + copy"])),
        sequences=SEQUENCES, every=EVERY, evaluated_on=EVALUATED_ON, learning_rate=1e-4,
        norm_epsilon=1e-12, responses=True, dtype="float64", device=settings.device,
    )  # fmt: skip
    _, curves = train(asked)
    found = curves[list(KEPT)].drop_vars(("sequences", "seed"))
    return found.rename({name: f"witness_{name}" for name in (*KEPT, "sequences", "run")})
