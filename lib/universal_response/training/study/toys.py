"""The toy product, with none, one and two of its vectors given."""

import xarray as xr

from universal_response.training.study.settings import StudySettings
from universal_response.training.toy import plateau_end, toy_curves

GIVEN = ((), ("c",), ("b", "c"))
STEPS = 1_200


def toy(settings: StudySettings) -> xr.Dataset:
    """Loss of the toy over its steps, and the end of its plateau.

    Returns:
        `toy_loss` (given, trained, step), in parts of the loss of the plateau, and `toy_end`, steps
        (given, trained).
    """
    parts = [toy_curves(settings.seeds, given, steps=STEPS) for given in GIVEN]
    found = [
        xr.Dataset({"toy_loss": each.loss / each.plateau, "toy_end": plateau_end(each)})
        for each in parts
    ]
    names = xr.Variable("given", [" and ".join(given) or "none" for given in GIVEN])
    return xr.concat(found, names).rename(seed="trained")
