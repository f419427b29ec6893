"""A study of training made again in part, and compared."""

import numpy as np
import xarray as xr

from universal_response.measurement import Verification
from universal_response.training.exemplars import features_sha256
from universal_response.training.parameters import model_of
from universal_response.training.study.looking import trained
from universal_response.training.study.settings import study_settings_of
from universal_response.training.study.toys import toy
from universal_response.training.study.witness import witness

# Of losses, attention, shares and logits, all of order 1.
ALLOWED = 1e-3


def verify_training(dataset: xr.Dataset) -> Verification:
    """Train the witness again, and look again at the trained models that are in the file.

    Allowed is 1e-3 of 1, and of what is larger 1e-3 of it, on any machine. An accuracy counts
    sequences, one of which may lie on the edge: of these the share of a sequence is allowed.

    Args:
        dataset: results of `study_training`.

    Raises:
        ValueError: the letters look otherwise here: another renderer of fonts.
    """
    if features_sha256() != dataset.attrs["features_sha256"]:
        raise ValueError("features: of other letters than the file's; use the locked matplotlib")
    settings = study_settings_of(dataset)
    again = xr.merge(
        [
            witness(settings),
            toy(settings),
            trained(model_of(dataset.parameters.values), settings),
        ],
        compat="no_conflicts",
    )
    excess = {}
    for name, found in again.items():
        shipped = dataset[name].astype(float)
        allowed = ALLOWED * np.maximum(1, abs(shipped))
        if str(name).endswith("accuracy"):
            allowed = allowed + 1 / settings.evaluated_on
        excess[str(name)] = (abs(found.astype(float) - shipped) / allowed).fillna(
            np.inf if shipped.notnull().all() else 0
        )
    largest = max(excess, key=lambda name: float(excess[name].max()))
    at = {str(dim): int(place) for dim, place in excess[largest].argmax(...).items()}
    compared, worst = sum(each.size for each in excess.values()), float(excess[largest].max())
    relative = abs(again.witness_loss / dataset.witness_loss - 1)
    return Verification(compared, worst, {"of": largest, **at}, float(relative.median()))
