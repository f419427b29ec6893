"""A study of heads measured again in part, and compared."""

import numpy as np
import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.heads.study.material import Material
from universal_response.heads.study.settings import HeadSettings
from universal_response.heads.study.witness import witness
from universal_response.measurement import Verification, check_weights_of, recorded, verification
from universal_response.models import load_model

# Of attention scores and shares absolute; of the loss, of order 10, relative.
ALLOWED = 1e-3


def verify_heads(dataset: xr.Dataset, model: TransformerBridge | None = None) -> Verification:
    """Measure the witness of a study again: scores, shares of the response, and the loss by place.

    Allowed is 1e-3 of 1, and of the loss 1e-3 of it beside that, on any machine.

    Args:
        dataset: results of `study_heads`.
        model: the model they belong to; loaded by its recorded name if None.

    Raises:
        ValueError: the weights or the tokens are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    settings = recorded(HeadSettings, dataset.attrs)
    model = model or load_model(dataset.attrs["model"], dtype=settings.dtype, tokenizer=False)
    check_weights_of(dataset, model)
    material = Material(model, settings)
    if not torch.equal(material.evaluated_on, torch.from_numpy(dataset.tokens.values)):
        raise ValueError(f"tokens: not those of seed={settings.seed}; the file was changed")
    excess, relative = {}, []
    for name, found in witness(material).items():
        shipped = dataset[name]
        allowed = ALLOWED * (1 + (abs(shipped) if name == "witness_loss" else 0))
        excess[str(name)] = (abs(found - shipped) / allowed).fillna(np.inf)
        relative.append(abs(found / shipped.where(shipped != 0) - 1).values.ravel())
    return verification(excess, float(np.nanmedian(np.concatenate(relative))))
