"""Measure the first sequence of a results file again, and compare."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.description import settings_of
from universal_response.measurement.measure import measure
from universal_response.measurement.settings import Settings, sources_of, tokens_of
from universal_response.measurement.subject import bos_token
from universal_response.metrics import COSINES, QUADRATIC
from universal_response.models import Provenance, load_model
from universal_response.sequences import PAPER, token_rows

RELATIVE = 1e-3  # of a number; of a cosine absolute
TURNLESS = 1e-9  # of C_delta^2: where D is parallel to x, a turn is what rounding leaves of it
SILENT = 1e-9  # of C_delta at dj = 0: what responds no more has no direction


@dataclass(frozen=True)
class Verification:
    """Outcome of measuring the witness sequence of a results file again.

    Attributes:
        compared: how many numbers were compared.
        worst: largest |new - shipped| as a multiple of what is allowed; at most 1 if they agree.
        where: metric, epsilon (0 for the linear limit), position and delta_j of that number.
        median_relative: median of |new - shipped| / |shipped| over C_delta.
    """

    compared: int
    worst: float
    where: dict[str, object]
    median_relative: float

    @property
    def agrees(self) -> bool:
        return self.worst <= 1


def verification(excess: Mapping[str, xr.DataArray], median_relative: float) -> Verification:
    """What is told of witnesses that were measured again.

    Args:
        excess: of every variable |new - shipped| as a multiple of what is allowed.
        median_relative: as `Verification` has it.
    """
    largest = max(excess, key=lambda name: float(excess[name].max()))
    at = {str(dim): int(place) for dim, place in excess[largest].argmax(...).items()}
    compared, worst = sum(each.size for each in excess.values()), float(excess[largest].max())
    return Verification(compared, worst, {"of": largest, **at}, median_relative)


def verify(
    dataset: xr.Dataset,
    model: TransformerBridge | None = None,
    progress: bool = False,
    quick: bool = False,
) -> Verification:
    """Measure the first sequence of a Dataset again and compare with `witness`.

    Allowed is 1e-3 relative (for the cosines: 1e-3 absolute), for C_phi 1e-9 C_delta^2 beside it,
    on any machine. A cosine is compared where C_delta exceeds 1e-9 of its value at dj = 0.

    Args:
        dataset: results.
        model: the model they belong to; loaded by its recorded name if None.
        progress: show a progress bar.
        quick: only the reference strength; the linear limit where there are no strengths.

    Raises:
        ValueError: the weights, the tokens or the sources are not those recorded.
        WeightsUnavailable: the weights are not to be had.
    """
    settings = settings_of(dataset)
    model = model or load_model(
        dataset.attrs["model"], dtype=settings.dtype, tokenizer=False, progress=progress
    )
    _check_identity(dataset, settings, model)
    asked = replace(
        settings,
        tokens=token_rows(dataset.tokens.values[:1]),
        t0=0,
        distance=settings.peak,
        arrangement=PAPER,
        distinct=False,
        epsilons=(settings.epsilon0,) if quick and settings.epsilons else settings.epsilons,
        linear=settings.linear and not (quick and settings.epsilons),
    )
    found = measure(model, asked, progress)
    excess, relative = [], []
    for name, measured in (("witness", "response"), ("linear_witness", "linear")):
        if measured in found:
            shipped = dataset[name]
            if "epsilon" in shipped.dims:
                shipped = shipped.sel(epsilon=found.epsilon)
            each = _excess(found[measured], shipped, _allowed(shipped))
            excess.append(each if "epsilon" in each.dims else each.expand_dims(epsilon=[0.0]))
            size = shipped.sel(metric="delta")
            off = found[measured].sel(metric="delta") / size.where(size > 0) - 1
            relative.append(abs(off).values.ravel())
    joined = xr.concat(excess, "epsilon")
    at = joined.isel(joined.fillna(-1.0).argmax(...))
    where = {name: at[name].item() for name in ("metric", "epsilon", "position", "delta_j")}
    median = float(np.nanmedian(np.concatenate(relative)))
    return Verification(int(joined.count()), float(at), where, median)


def _check_identity(dataset: xr.Dataset, settings: Settings, model: TransformerBridge) -> None:
    check_weights_of(dataset, model)
    tokens = tokens_of(settings, model.cfg.n_ctx, model.cfg.d_vocab, bos_token(model))
    for name, expected in (("tokens", tokens), ("sources", sources_of(settings))):
        if not np.array_equal(expected, dataset[name].values):
            raise ValueError(f"{name}: not those of seed={settings.seed}; the file was changed")


def check_weights_of(dataset: xr.Dataset, model: TransformerBridge) -> None:
    """Refuse a model with other weights than those recorded, where both are known.

    Raises:
        ValueError: they differ.
    """
    recorded = dataset.attrs["weights_sha256"]
    loaded = getattr(model, "provenance", Provenance()).weights_sha256
    if "unknown" not in (loaded, recorded):
        check_weights(recorded, loaded)


def check_weights(recorded: str, loaded: str) -> None:
    """Refuse other weights than the recorded ones, told apart by their digests.

    Raises:
        ValueError: they differ.
    """
    if loaded != recorded:
        raise ValueError(
            f"weights_sha256={recorded}: the model at hand has {loaded}; use the recorded weights"
        )


def _allowed(shipped: xr.DataArray) -> xr.DataArray:
    """What a number may differ by, nan where it is not compared."""
    size = shipped.sel(metric="delta")
    is_cosine = shipped.metric.isin(COSINES)
    allowed = RELATIVE * xr.where(is_cosine, 1.0, np.abs(shipped))
    allowed = allowed + xr.where(shipped.metric.isin(QUADRATIC), TURNLESS * size**2, 0.0)
    return allowed.where(~is_cosine | (size > SILENT * size.sel(delta_j=0)))


def _excess(found: xr.DataArray, shipped: xr.DataArray, allowed: xr.DataArray) -> xr.DataArray:
    """|found - shipped| as a multiple of what is allowed; infinite where one is not a number.

    nan where nothing was to compare: no pair at this distance, or not allowed for.
    """
    difference = np.abs(found - shipped)
    # Where nothing is allowed, equality is asked for.
    excess = xr.where(difference == 0, 0.0, difference / allowed.fillna(1))
    one_of_them = found.isnull() ^ shipped.isnull()
    neither = found.notnull() & shipped.notnull() & allowed.notnull()
    return excess.where(~one_of_them, np.inf).where(neither | one_of_them)
