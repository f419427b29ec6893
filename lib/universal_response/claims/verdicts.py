"""Claims tested on the results of a model."""

import math
from dataclasses import dataclass

import numpy as np
import xarray as xr

from universal_response import response
from universal_response.claims.heads import HEAD_CLAIMS, redrawn
from universal_response.claims.quantities import WEAK
from universal_response.claims.statements import CLAIMS, Claim
from universal_response.claims.training import FILM_CLAIMS, TRAINING_CLAIMS
from universal_response.response import Estimate

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

REPORTED, UNTESTED = "reported, no bound", "not testable here"

VERDICTS = (HOLDS, FAILS, UNDECIDED, REPORTED, UNTESTED)

N_RESAMPLES = 400


@dataclass(frozen=True)
class Range:
    """A number of which every seed has its own."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Range":
        return cls(float(np.median(values)), float(values.min()), float(values.max()))


@dataclass(frozen=True)
class Finding:
    """A claim tested on one model, or on one study of training."""

    claim: Claim
    estimate: Estimate | Range | None
    verdict: str


def evaluate_claims(
    dataset: xr.Dataset, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> list[Finding]:
    """Test every claim of `CLAIMS` on the results of one model.

    A bound counts as kept or broken only beyond two standard errors; `undecided` otherwise. Nothing
    is testable without a standard error or a strength below `WEAK`.

    Args:
        dataset: results with linear limit.
        generator: of the bootstrap.
        n_resamples: draws of the bootstrap.
    """
    if dataset.sizes["sequence"] < 2 or not (dataset.epsilon < WEAK).any():
        return [Finding(claim, None, UNTESTED) for claim in CLAIMS]
    means = response.resample(dataset, n_resamples, generator)
    return [_tested(claim, dataset, means) for claim in CLAIMS]


def evaluate_head_claims(
    dataset: xr.Dataset, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> list[Finding]:
    """Test every claim of `HEAD_CLAIMS` on the study of the heads of one model.

    Verdicts are those of `evaluate_claims`. What asks for a kind of head that the model does not
    have is not testable.

    Args:
        dataset: of `heads.study_heads`.
        generator: of the draws.
        n_resamples: how many draws.
    """
    draws = redrawn(dataset, n_resamples, generator)
    return [_tested(claim, dataset, draws) for claim in HEAD_CLAIMS]


def evaluate_training_claims(dataset: xr.Dataset) -> list[Finding]:
    """Test every claim of `TRAINING_CLAIMS`: it holds if it does in all seeds, or pairs of them.

    Args:
        dataset: of `training.study_training`. With a single seed nothing is testable.
    """
    seeds = dataset.sizes["trained"]
    return [_tested_by_seed(claim, dataset, seeds) for claim in TRAINING_CLAIMS]


def evaluate_film_claims(films: list[xr.Dataset]) -> list[Finding]:
    """Test every claim of `FILM_CLAIMS`: it holds if it does in all films.

    Args:
        films: of `training.gpt2`, of different seeds. With a single one nothing is testable.
    """
    return [_tested_by_seed(claim, films, len(films)) for claim in FILM_CLAIMS]


def _tested_by_seed(claim: Claim, data: xr.Dataset | list[xr.Dataset], seeds: int) -> Finding:
    if claim.evaluate is None:
        return Finding(claim, None, UNTESTED)
    found = claim.evaluate(data)
    if np.isnan(found).any() or seeds < 2:
        return Finding(claim, None, UNTESTED)
    estimate = Range.of(found)
    if claim.holds is None:
        return Finding(claim, estimate, REPORTED)
    return Finding(claim, estimate, _verdict({bool(claim.holds(float(one))) for one in found}))


def _tested(claim: Claim, dataset: xr.Dataset, means: xr.Dataset) -> Finding:
    if claim.evaluate is None:
        return Finding(claim, None, UNTESTED)
    found = response.estimate(claim.evaluate(dataset, means))
    if not (math.isfinite(found.value) and math.isfinite(found.error)):
        return Finding(claim, None, UNTESTED)
    if claim.holds is None:
        return Finding(claim, found, REPORTED)
    # Finely: a bound may have two sides.
    shifts = np.linspace(-2, 2, 41) * found.error
    kept = {claim.holds(Estimate(found.value + shift, found.error)) for shift in shifts}
    return Finding(claim, found, _verdict(kept))


def _verdict(kept: set[bool]) -> str:
    """Of a bound that is kept always, never or at times."""
    if len(kept) > 1:
        return UNDECIDED
    return HOLDS if True in kept else FAILS
