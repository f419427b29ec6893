"""Frames of a film that need no training, measured again and compared: random and final weights."""

from pathlib import Path

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement import Verification, check_weights_of
from universal_response.models import REGISTRY, bridged, load_model
from universal_response.training.gpt2.film import perturbed, settings_of_film
from universal_response.training.gpt2.frames import FilmSettings, gap_sequences_of, responses
from universal_response.training.gpt2.network import initial
from universal_response.training.gpt2.settings import Gpt2Settings

ALLOWED = 1e-3  # relative


def verify_film(dataset: xr.Dataset, model: TransformerBridge | None = None) -> Verification:
    """Measure one sequence of the random weights, and of the trained ones, again, and compare.

    Allowed is 1e-3 relative, on any machine. How the weights came about is not repeated: they are
    told by their digest. Where they are not to be had, only the random ones are compared.

    Args:
        dataset: results of a film.
        model: the trained model; if None loaded by its recorded name, if that is registered or a
            folder.

    Raises:
        ValueError: the weights or the tokens are not those recorded.
    """
    training, film = settings_of_film(dataset)
    tokens = perturbed(training, film)
    if not np.array_equal(tokens, dataset.tokens.values):
        raise ValueError(f"tokens: not those of seed={film.seed}; the file was changed")
    comparisons = _of_frame(dataset, 0, bridged(initial(training.network, training.seed)), film)
    if trained := model or _trained(dataset.attrs["model"]):
        check_weights_of(dataset, trained)
        comparisons += _of_frame(dataset, -1, trained, film)
        comparisons += _behind_gap(dataset, trained, training, film)
    relative = np.concatenate([each.values.ravel() for each in comparisons])
    excess = [each.rename("excess").fillna(np.inf) / ALLOWED for each in comparisons]
    joined = xr.combine_by_coords(excess, join="outer").excess
    at = joined.isel(joined.fillna(-1.0).argmax(...))
    where = {name: at[name].item() for name in ("step", "strength", "position", "delta_j")}
    return Verification(int(joined.count()), float(at), where, float(np.nanmedian(relative)))


def _trained(name: str) -> TransformerBridge | None:
    there = name in REGISTRY or Path(name).is_dir()
    return load_model(name, tokenizer=False) if there else None


def _of_frame(
    dataset: xr.Dataset, place: int, model: TransformerBridge, film: FilmSettings
) -> list[xr.DataArray]:
    frame = dataset.isel(frame=place)
    t0 = int(frame.t0)
    rows = frame.tokens.values[int(frame.frame_phase), :1, : 2 * t0].astype(np.int64)
    found = responses(model, rows, t0, film.epsilon)
    pairs = (("witness", "response"), ("linear_witness", "linear"))
    return [_compared(found[measured], frame, name) for name, measured in pairs]


def _behind_gap(
    dataset: xr.Dataset, model: TransformerBridge, training: Gpt2Settings, film: FilmSettings
) -> list[xr.DataArray]:
    rows = gap_sequences_of(film, training.phases[-1])[:1]
    found = responses(model, rows, 0, film.epsilon)
    return [_compared(found.linear, dataset.isel(frame=-1), "gap_linear_witness")]


def _compared(found: xr.DataArray, frame: xr.Dataset, name: str) -> xr.DataArray:
    """|found - shipped| / |shipped|, 0 where both vanish, with the step and name of the frame."""
    shipped = frame[name].sel(delta_j=found.delta_j).values
    same = found == shipped
    off = (abs(found - shipped) / np.where(same, 1, abs(shipped))).where(~same, 0)
    return off.expand_dims({"step": [int(frame.step)], "strength": [name]})
