"""A propagator measured again in part, and compared."""

import numpy as np
import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement import Verification, check_weights_of, recorded
from universal_response.models import load_model
from universal_response.propagator.measure import drawn, from_position
from universal_response.propagator.settings import PropagatorSettings

ALLOWED = 1e-3  # relative


def verify_propagator(
    dataset: xr.Dataset, model: TransformerBridge | None = None, quick: bool = False
) -> Verification:
    """Measure the first sequence again, from some positions l', and compare C_delta.

    Allowed is 1e-3 relative, on any machine.

    Args:
        dataset: of `measure_propagator`.
        model: the model it belongs to; loaded by its recorded name if None.
        quick: from three positions; else from every fourth.

    Raises:
        ValueError: the weights, the tokens or the sources are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    settings = recorded(PropagatorSettings, dataset.attrs)
    model = model or load_model(dataset.attrs["model"], dtype=settings.dtype, tokenizer=False)
    check_weights_of(dataset, model)
    tokens, sources = drawn(settings, model.cfg.d_vocab)
    for name, expected in (("tokens", tokens), ("sources", sources)):
        if not torch.equal(expected, torch.from_numpy(dataset[name].values).long()):
            raise ValueError(f"{name}: not those of seed={settings.seed}; the file was changed")
    n = dataset.sizes["perturbed_position"]
    asked = sorted({0, n // 2, n - 1}) if quick else list(range(0, n, 4))
    off = xr.concat(
        [
            _relative(
                from_position(model, tokens[:1], sources[:1], settings, first),
                dataset.isel(perturbed_position=first, sequence=[0]),
            )
            for first in asked
        ],
        xr.Variable("perturbed_position", asked),
    )
    excess = off.fillna(np.inf) / ALLOWED
    at = excess.isel(excess.argmax(...))
    where = {name: at[name].item() for name in ("perturbed_position", "position", "compared")}
    return Verification(excess.size, float(at), where, float(off.median()))


def _relative(found: xr.Dataset, shipped: xr.Dataset) -> xr.DataArray:
    """|found - shipped| / |shipped|, 0 where both vanish."""
    here, there = found.response, shipped.response.transpose(*found.response.dims)
    same = here.values == there.values
    return (abs(here - there.values) / np.where(same, 1, abs(there.values))).where(~same, 0)
