"""A study of a model that adds measured again in part, and compared."""

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.arithmetic.study.material import Material
from universal_response.arithmetic.study.settings import ArithmeticSettings
from universal_response.arithmetic.study.witness import witness
from universal_response.arithmetic.told import settings_of_training
from universal_response.measurement import Verification, check_weights_of, recorded, verification
from universal_response.models import load_model

ALLOWED = 1e-3


def verify_arithmetic(dataset: xr.Dataset, model: TransformerBridge | None = None) -> Verification:
    """Measure the witness of a study again: answers, effects of nodes, likelihood, responses.

    Allowed is 1e-3 of 1 beside 1e-3 of each number, on any machine.

    Args:
        dataset: results of `study_arithmetic`.
        model: the model they belong to; loaded by its recorded name if None.

    Raises:
        ValueError: the weights or the problems are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    settings = recorded(ArithmeticSettings, dataset.attrs)
    model = model or load_model(dataset.attrs["model"], dtype=settings.dtype, tokenizer=False)
    check_weights_of(dataset, model)
    material = Material(model, settings_of_training(dataset.attrs["model"]), settings)
    found = witness(material)
    if not np.array_equal(found.tokens, dataset.tokens):
        raise ValueError(f"tokens: not those of seed={settings.seed}; the file was changed")
    excess, relative = {}, []
    for name in sorted(str(each) for each in found if str(each).startswith("witness_")):
        shipped, mine = dataset[name], found[name]
        off = abs(mine - shipped) / (ALLOWED * (1 + abs(shipped)))
        excess[name] = off.where(shipped.notnull() | mine.notnull(), 0).fillna(np.inf)
        relative.append(abs(mine / shipped.where(shipped != 0) - 1).values.ravel())
    return verification(excess, float(np.nanmedian(np.concatenate(relative))))
