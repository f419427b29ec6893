"""A study of training made again in part, and compared."""

import numpy as np
import xarray as xr

from universal_response.measurement import Verification, verification
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
    return compared(dataset, made_again(dataset))


def made_again(dataset: xr.Dataset) -> xr.Dataset:
    """The witness, the toy, and measures of the trained models in the file."""
    settings = study_settings_of(dataset)
    model = model_of(dataset.parameters.values)
    return xr.merge([witness(settings), toy(settings), trained(model, settings)])


def compared(dataset: xr.Dataset, again: xr.Dataset) -> Verification:
    """How far numbers made again lie from those in the file."""
    one_sequence = 1 / study_settings_of(dataset).evaluated_on
    excess = {}
    for name, found in again.astype(float).items():
        shipped = dataset[name].astype(float)
        allowed = ALLOWED * np.maximum(1, abs(shipped))
        if str(name).endswith("accuracy"):
            allowed = allowed + one_sequence
        known = found.notnull() | shipped.notnull()
        excess[str(name)] = (abs(found - shipped) / allowed).fillna(np.inf).where(known, 0)
    relative = abs(again.witness_loss / dataset.witness_loss - 1)
    return verification(excess, float(relative.median()))
