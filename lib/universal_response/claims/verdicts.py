"""Claims tested on the results of models."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy import stats

from universal_response import response
from universal_response.claims.arithmetic import ARITHMETIC_CLAIMS
from universal_response.claims.heads import HEAD_CLAIMS, redrawn
from universal_response.claims.quantities import WEAK
from universal_response.claims.statements import CLAIMS, Claim
from universal_response.claims.training import FILM_CLAIMS, TRAINING_CLAIMS
from universal_response.response import Estimate

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"

REPORTED, UNTESTED = "reported, no bound", "not testable here"

VERDICTS = (HOLDS, FAILS, UNDECIDED, REPORTED, UNTESTED)

N_RESAMPLES = 400

LEVEL = 0.05  # that any verdict of a family is wrong

FARTHEST, STEP = 12, 0.01  # standard errors up to which, and in which steps, a bound is looked for
TWO_ERRORS = float(stats.norm.sf(2))


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
    """A claim tested on one model, or on one study of training.

    Attributes:
        claim: what is tested.
        estimate: of its quantity; None where it is not testable.
        verdict: one of `VERDICTS`.
        p: the chance that the value lies on its side of the bound by the scatter of sequences
            alone; None without a bound, and for claims on learning.
    """

    claim: Claim
    estimate: Estimate | Range | None
    verdict: str
    p: float | None = None


def evaluate_claims(
    datasets: Mapping[str, xr.Dataset],
    generator: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> dict[str, list[Finding]]:
    """Test every claim of `CLAIMS` on the results of models.

    A bound counts as kept or broken only where that is significant (Student's t over sequences) at
    the `LEVEL` of all that is tested here together (Holm's method); `undecided` otherwise. Nothing
    is testable without a standard error or a strength below `WEAK`.

    Args:
        datasets: results with linear limit, by title.
        generator: of the bootstrap.
        n_resamples: draws of the bootstrap.
    """
    found = {
        title: [_estimated(claim, dataset, means, dataset.sizes["sequence"]) for claim in CLAIMS]
        for title, dataset in datasets.items()
        for means in [_means(dataset, generator, n_resamples)]
    }
    tested = [one for of_model in found.values() for one in of_model if one.p is not None]
    resolved = iter(response.holm(np.array([one.p for one in tested]), LEVEL))
    return {
        title: [one if one.p is None else _decided(one, bool(next(resolved))) for one in of_model]
        for title, of_model in found.items()
    }


def _means(
    dataset: xr.Dataset, generator: np.random.Generator, n_resamples: int
) -> xr.Dataset | None:
    """Averages drawn anew; None where nothing is testable."""
    if dataset.sizes["sequence"] < 2 or not (dataset.epsilon < WEAK).any():
        return None
    return response.resample(dataset, n_resamples, generator)


def evaluate_head_claims(
    dataset: xr.Dataset, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> list[Finding]:
    """Test every claim of `HEAD_CLAIMS` on the study of the heads of one model.

    A bound counts as kept or broken only beyond two standard errors. What asks for a kind of head
    that the model does not have is not testable.

    Args:
        dataset: of `heads.study_heads`.
        generator: of the draws.
        n_resamples: how many draws.
    """
    draws = redrawn(dataset, n_resamples, generator)
    found = [_estimated(claim, dataset, draws) for claim in HEAD_CLAIMS]
    return [one if one.p is None else _decided(one, one.p < TWO_ERRORS) for one in found]


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


def evaluate_arithmetic_claims(studies: Sequence[xr.Dataset]) -> list[Finding]:
    """Test every claim of `ARITHMETIC_CLAIMS`: it holds if it does in all seeds.

    Args:
        studies: of `arithmetic.study_arithmetic`, of several seeds of each training.
    """
    return [_tested_by_seed(claim, studies) for claim in ARITHMETIC_CLAIMS]


def _tested_by_seed(
    claim: Claim, data: xr.Dataset | Sequence[xr.Dataset], seeds: int | None = None
) -> Finding:
    """Of a number for every seed, or for every pair of so many."""
    if claim.evaluate is None:
        return Finding(claim, None, UNTESTED)
    found = claim.evaluate(data)
    if np.isnan(found).any() or (len(found) if seeds is None else seeds) < 2:
        return Finding(claim, None, UNTESTED)
    estimate = Range.of(found)
    if claim.holds is None:
        return Finding(claim, estimate, REPORTED)
    return Finding(claim, estimate, _verdict({bool(claim.holds(float(one))) for one in found}))


def _estimated(
    claim: Claim, dataset: xr.Dataset, means: xr.Dataset | None, sequences: int | None = None
) -> Finding:
    """What is found of a claim: on which side of its bound the value is, if it has one."""
    if claim.evaluate is None or means is None:
        return Finding(claim, None, UNTESTED)
    estimate = response.estimate(claim.evaluate(dataset, means), claim.logarithmic, sequences)
    if not (math.isfinite(estimate.value) and math.isfinite(estimate.error)):
        return Finding(claim, None, UNTESTED)
    if claim.holds is None:
        return Finding(claim, estimate, REPORTED)
    side = HOLDS if claim.holds(estimate.value) else FAILS
    return Finding(claim, estimate, side, _by_chance(claim.holds, estimate))


def _by_chance(holds: Callable[[float], bool], estimate: Estimate) -> float:
    """One-sided p-value: the tail of Student's t from where the bound would be crossed on."""
    if estimate.error == 0:
        return 0.0
    here = holds(estimate.value)
    for errors in np.arange(0, FARTHEST, STEP):
        if any(holds(estimate.moved(sign * errors)) != here for sign in (-1, 1)):
            return float(stats.t.sf(errors, estimate.freedom))
    return 0.0


def _decided(finding: Finding, resolved: bool) -> Finding:
    return finding if resolved else replace(finding, verdict=UNDECIDED)


def _verdict(kept: set[bool]) -> str:
    """Of a bound that is kept always, never or at times."""
    if len(kept) > 1:
        return UNDECIDED
    return HOLDS if True in kept else FAILS
