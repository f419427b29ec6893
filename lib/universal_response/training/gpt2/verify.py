"""The first and the last frame of a film measured again and compared; neither needs a training."""

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement import Verification, check_weights
from universal_response.models import Provenance, bridged, load_model
from universal_response.training.gpt2.film import perturbed, settings_of_film
from universal_response.training.gpt2.frames import responses
from universal_response.training.gpt2.network import initial

ALLOWED = 1e-3  # relative


def verify_film(dataset: xr.Dataset, model: TransformerBridge | None = None) -> Verification:
    """Measure one sequence of the random weights and of the trained ones again, and compare.

    Allowed is 1e-3 relative, on any machine. How the weights came about is not repeated: they are
    told by their digest.

    Args:
        dataset: results of a film.
        model: the trained model; loaded by its recorded name if None.

    Raises:
        ValueError: the weights or the tokens are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    training, film = settings_of_film(dataset)
    model = model or load_model(dataset.attrs["model"], tokenizer=False)
    loaded = getattr(model, "provenance", Provenance()).weights_sha256
    if "unknown" not in (loaded, dataset.attrs["weights_sha256"]):
        check_weights(dataset.attrs["weights_sha256"], loaded)
    tokens = perturbed(training, film)
    if not np.array_equal(tokens, dataset.tokens.values):
        raise ValueError(f"tokens: not those of seed={film.seed}; the file was changed")
    ends = {0: bridged(initial(training.network, training.seed)), -1: model}
    excess, relative = [], []
    for place, each in ends.items():
        shipped = dataset.isel(frame=place)
        rows = tokens[place, :1, : 2 * int(shipped.t0)].astype(np.int64)
        found = responses(each, rows, int(shipped.t0), film.epsilon)
        for name, measured in (("witness", "response"), ("linear_witness", "linear")):
            off = _relative(found[measured], shipped[name])
            where = {"step": [int(shipped.step)], "strength": [name]}
            excess.append(off.fillna(np.inf).expand_dims(where) / ALLOWED)
            relative.append(off.values.ravel())
    joined = xr.combine_by_coords([each.rename("excess") for each in excess], join="outer").excess
    at = joined.isel(joined.fillna(-1.0).argmax(...))
    where = {name: at[name].item() for name in ("step", "strength", "position", "delta_j")}
    median = float(np.nanmedian(np.concatenate(relative)))
    return Verification(int(joined.count()), float(at), where, median)


def _relative(found: xr.DataArray, shipped: xr.DataArray) -> xr.DataArray:
    """|found - shipped| / |shipped| (position, delta_j); 0 where both vanish."""
    there = shipped.sel(delta_j=found.delta_j).values
    same = found == there
    return (abs(found - there) / np.where(same, 1, abs(there))).where(~same, 0)
