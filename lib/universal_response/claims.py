"""Dataset -> verdicts: what the abstract and the captions of the paper state, tested on results.

Each claim is one quantity with its standard error over sequences (bootstrap, `response.resample`)
and a bound chosen before looking: a deviation called small must be below 10 %.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from universal_response import response
from universal_response.response import Estimate

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
REPORTED, UNTESTED = "reported, no bound", "not testable here"
VERDICTS = (HOLDS, FAILS, UNDECIDED, REPORTED, UNTESTED)
N_RESAMPLES = 400
WEAK = 0.1  # the captions of Fig. 2 call strengths below this one small
FIGURE_EPSILON0 = 0.03  # reference strength of Fig. 5
SMALL = 0.1  # our reading of "independent of" and "well approximated by"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper and the test of it.

    Attributes:
        statement: in our words.
        source: where the paper makes it.
        quantity: what is computed.
        evaluate: results and their resampled means -> the quantity along `resample`; None where it
            takes what is not here.
        holds: verdict on an estimate; None where the paper names no value to compare with.
    """

    statement: str
    source: str
    quantity: str
    evaluate: Callable[[xr.Dataset, xr.Dataset], xr.DataArray] | None
    holds: Callable[[Estimate], bool] | None


@dataclass(frozen=True)
class Finding:
    """A claim tested on one model."""

    claim: Claim
    estimate: Estimate | None
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


def table(findings: Mapping[str, list[Finding]]) -> pd.DataFrame:
    """One row a claim: statement, source, value and verdict for each model, and the quantity.

    Args:
        findings: of `evaluate_claims`, by title of the model.

    Returns:
        Table with the columns `statement`, `source`, one for each title, and `tested by`; rows are
        counted from 1.
    """
    rows = []
    for number, claim in enumerate(CLAIMS):
        row = {"statement": claim.statement, "source": claim.source}
        row |= {model: _text(found[number]) for model, found in findings.items()}
        rows.append(row | {"tested by": claim.quantity})
    return pd.DataFrame(rows, index=range(1, len(rows) + 1))


def in_brief(
    datasets: Mapping[str, xr.Dataset], findings: Mapping[str, list[Finding]]
) -> list[str]:
    """What was found, on which models and how surely, in five sentences of Markdown.

    Args:
        datasets: results by title.
        findings: of `evaluate_claims`, by the same titles.
    """

    def values(claim: Claim) -> str:
        estimates = [found[CLAIMS.index(claim)].estimate for found in findings.values()]
        texts = ["not testable" if one is None else value_and_error(one) for one in estimates]
        return _each(texts, datasets)

    first = next(iter(datasets.values()))
    epsilon0, sizes, attrs = _epsilon0(first), first.sizes, first.attrs
    onsets = [response.induction_onset(dataset, epsilon0) for dataset in datasets.values()]
    moved = [
        f"{onset.position} of {response.last(dataset)}"
        for onset, dataset in zip(onsets, datasets.values(), strict=True)
    ]
    verdicts = [[one.verdict for one in found] for found in findings.values()]
    counts = [
        f"{found.count(HOLDS)} of {sum(found.count(one) for one in (HOLDS, FAILS, UNDECIDED))} "
        f"hold, {found.count(FAILS)} do not, {found.count(UNDECIDED)} stay undecided"
        for found in verdicts
    ]
    return [
        f"When one token of a repeated random sequence is weakened by {epsilon0:.0%}, of the last "
        "residual vectors near its repeat the one just *before* it responds most, by a factor of "
        f"{values(PEAK)} over the next largest within five tokens.",
        "Early in the network the peak stands at the same token instead; it has moved for good at "
        f"position $\\ell$ = {_each(moved, datasets)}.",
        "The length of a weak response is proportional to the strength: it keeps within 5% of its "
        f"exact linear limit up to $\\varepsilon$ = {values(LINEAR_REGIME)}.",
        "Of what builds up at that distance, attention sublayers add a part of "
        f"{values(ATTENTION_PART)} and MLP sublayers the rest.",
        f"How sure: {sizes['sequence']} sequences of {sizes['token']} tokens (seed "
        f"{attrs['seed']}, {attrs['dtype']}), standard errors over "
        f"sequences. Of the statements tested against a bound, {_each(counts, datasets)}.",
    ]


def value_and_error(estimate: Estimate) -> str:
    """Two digits of the error, and the value to the same place."""
    error = estimate.error
    places = max(1 - math.floor(math.log10(error)), 0) if error > 0 else 3
    return f"{estimate.value:.{places}f} ± {error:.{places}f}"


def _each(texts: list[str], titles: Iterable[str]) -> str:
    return " and ".join(f"{text} ({title})" for text, title in zip(texts, titles, strict=True))


def _tested(claim: Claim, dataset: xr.Dataset, means: xr.Dataset) -> Finding:
    if claim.evaluate is None:
        return Finding(claim, None, UNTESTED)
    found = response.estimate(claim.evaluate(dataset, means))
    if not math.isfinite(found.value):
        return Finding(claim, None, UNTESTED)
    if claim.holds is None:
        return Finding(claim, found, REPORTED)
    reach = 2 * found.error
    verdicts = {
        claim.holds(Estimate(found.value + shift, found.error)) for shift in (-reach, 0.0, reach)
    }
    if len(verdicts) > 1:
        return Finding(claim, found, UNDECIDED)
    return Finding(claim, found, HOLDS if verdicts.pop() else FAILS)


def _text(finding: Finding) -> str:
    if finding.estimate is None:
        return finding.verdict
    return f"{value_and_error(finding.estimate)}: {finding.verdict}"


def _weak(values: xr.DataArray) -> xr.DataArray:
    return values.sel(epsilon=values.epsilon < WEAK)


def _epsilon0(dataset: xr.Dataset) -> float:
    return float(dataset.attrs["epsilon0"])


def _t0(dataset: xr.Dataset) -> int:
    return int(dataset.attrs["t0"])


def _scaled(dataset: xr.Dataset, means: xr.Dataset, metric: str, epsilon0: float) -> xr.DataArray:
    """C(epsilon) / C(epsilon0) over its theory at l = 2L (epsilon, delta_j, resample)."""
    last = means.last_mean.sel(metric=metric)
    theory = response.theory(metric, last.epsilon, epsilon0)
    return last / response.at_epsilon(last, epsilon0) / theory


def _prominence(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        t0 = _t0(dataset)
        last = response.at_epsilon(means.last_mean.sel(metric=metric), _epsilon0(dataset))
        near = last.sel(delta_j=response.window(t0))
        return near.sel(delta_j=t0 - 1) / near.drop_sel(delta_j=t0 - 1).max("delta_j")

    return evaluate


def _collapse(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weak(_scaled(dataset, means, metric, _epsilon0(dataset)))
        distance = scaled / scaled.mean("delta_j") - 1
        return (distance**2).mean(("delta_j", "epsilon")) ** 0.5

    return evaluate


def _theory(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weak(_scaled(dataset, means, metric, _epsilon0(dataset)))
        return abs(scaled.mean("delta_j") - 1).max("epsilon")

    return evaluate


def _spread(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        scaled = _weak(_scaled(dataset, means, metric, _epsilon0(dataset)))
        return (scaled.std("delta_j") / scaled.mean("delta_j")).max("epsilon")

    return evaluate


def _layers(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        epsilon0 = _epsilon0(dataset)
        peak = means.peak_mean.sel(metric=metric)
        peak = peak.sel(position=response.second_attention_on(peak))
        last = means.last_mean.sel(metric=metric)
        chi = (last / response.at_epsilon(last, epsilon0)).mean("delta_j")
        distance = _weak(peak / response.at_epsilon(peak, epsilon0) / chi) - 1
        return (distance**2).mean(("position", "epsilon")) ** 0.5

    return evaluate


def _theta_constant(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    peak = means.peak_mean.sel(metric="theta_source")
    peak = peak.sel(position=response.second_attention_on(peak))
    distance = _weak(peak) - response.at_epsilon(peak, _epsilon0(dataset))
    return (distance**2).mean(("position", "epsilon")) ** 0.5


def _steps(dataset: xr.Dataset, means: xr.Dataset, metric: str) -> xr.DataArray:
    peak = response.at_epsilon(means.peak_mean.sel(metric=metric), _epsilon0(dataset))
    return response.increments(peak, metric)


def _attention(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        steps = _steps(dataset, means, metric)
        return steps.sel(position=steps.sublayer == "attention").sum("position")

    return evaluate


def _middle_rise(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    rise = _steps(dataset, means, "delta").clip(min=0)
    depth = rise.position / response.last(dataset)
    middle = (depth > 0.25) & (depth <= 0.75)
    return rise.sel(position=middle).sum("position") / rise.sum("position")


def _window(means: xr.Dataset, metric: str = "delta") -> xr.DataArray:
    return means.window_mean.sel(metric=metric).rename(window="delta_j")


def _early_at_t0(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    peak = _window(means).idxmax("delta_j")
    depth = peak.position / response.last(dataset)
    return (peak.sel(position=(depth > 0.05) & (depth <= 0.25)) == _t0(dataset)).mean("position")


def _onset(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    found = response.onset_position(_window(means), _t0(dataset)) / response.last(dataset)
    return found.fillna(1.0)


def _gradual(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    t0, shown = _t0(dataset), _window(means)
    before = shown.sel(delta_j=t0 - 1)
    share = before / (before + shown.sel(delta_j=t0))
    depth = share.position / response.last(dataset)
    low = share.sel(position=(depth > 0.05) & (depth <= 0.25)).mean("position")
    high = share.sel(position=depth > 0.9).mean("position")
    way = ((share - low) / (high - low)).sel(position=depth > 0.05)
    return ((way > 0.1) & (way < 0.9)).sum("position")


def _universal(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
    high = float(dataset.epsilon.sel(epsilon=FIGURE_EPSILON0, method="nearest"))
    low = high / 100
    scaled = _scaled(dataset, means, "delta", high).mean("delta_j") - 1
    inside = (scaled.epsilon > 0.99 * low) & (scaled.epsilon < 1.01 * high)
    return abs(scaled.sel(epsilon=inside)).max("epsilon")


def _from_limit(means: xr.Dataset, metric: str) -> xr.DataArray:
    last, linear = means.last_mean.sel(metric=metric), means.linear_last_mean.sel(metric=metric)
    return response.linear_ratio(last, linear, metric).mean("delta_j") - 1


def _limit(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        return abs(_from_limit(means, metric).sel(epsilon=0.003, method="nearest"))

    return evaluate


def _largest(metric: str) -> Callable[[xr.Dataset, xr.Dataset], xr.DataArray]:
    def evaluate(dataset: xr.Dataset, means: xr.Dataset) -> xr.DataArray:
        return response.largest_epsilon(_from_limit(means, metric))

    return evaluate


def _is_small(found: Estimate) -> bool:
    return found.value < SMALL


PEAK = Claim(
    "At the end of the model the response peaks one token before the repeat.",
    "Fig. 2b",
    "C_Δ at T₀ - 1 over the next largest in the window, ε₀",
    _prominence("delta"),
    lambda found: found.value > 1,
)

ATTENTION_PART = Claim(
    "Attention and MLP sublayers add known parts of the length.",
    "Fig. 3d",
    "sum of the increments of C_Δ over attention (MLP: 1 minus it)",
    _attention("delta"),
    None,
)

LINEAR_REGIME = Claim(
    "The linear regime of the length ends where it is 5 % off.",
    "beyond the paper",
    "largest ε with |C_Δ / (ε linear) - 1| < 5 %, mean over Δj",
    _largest("delta"),
    None,
)

CLAIMS = (
    PEAK,
    Claim(
        "The angle shows the same peak.",
        "Fig. 2e",
        "C_φ at T₀ - 1 over the next largest in the window, ε₀",
        _prominence("phi"),
        lambda found: found.value > 1,
    ),
    Claim(
        "Rescaled, the length curves of all weak strengths are one curve.",
        "Fig. 2b",
        "C_Δ / χ: relative distance from their common curve, rms over Δj and ε < 0.1",
        _collapse("delta"),
        _is_small,
    ),
    Claim(
        "Rescaled, the angle curves of all weak strengths are one curve.",
        "Fig. 2e",
        "C_φ / χ: the same distance",
        _collapse("phi"),
        _is_small,
    ),
    Claim(
        "The length grows in proportion to ε.",
        "Fig. 2c",
        "χ_Δ over ε / ε₀: largest distance from 1, ε < 0.1",
        _theory("delta"),
        _is_small,
    ),
    Claim(
        "The angle metric grows as ε squared.",
        "Fig. 2f",
        "χ_φ over (ε / ε₀)^2: largest distance from 1, ε < 0.1",
        _theory("phi"),
        _is_small,
    ),
    Claim(
        "For ε < 0.1 the ratios of lengths do not depend on Δj.",
        "Fig. 2c",
        "C_Δ(ε) / C_Δ(ε₀): relative spread over Δj, at the worst ε",
        _spread("delta"),
        _is_small,
    ),
    Claim(
        "For ε < 0.1 the ratios of angle metrics do not depend on Δj.",
        "Fig. 2f",
        "C_φ(ε) / C_φ(ε₀): the same spread",
        _spread("phi"),
        _is_small,
    ),
    Claim(
        "One χ serves all layers, for the length.",
        "Fig. 3a",
        "χ_Δ at each ℓ (Δj = T₀ - 1) over that of ℓ = 2L: distance from 1, rms over ε < 0.1 and "
        "ℓ from the second attention sublayer on",
        _layers("delta"),
        _is_small,
    ),
    Claim(
        "One χ serves all layers, for the angle.",
        "Fig. 3b",
        "the same for χ_φ",
        _layers("phi"),
        _is_small,
    ),
    Claim(
        "The direction of the response needs no rescaling.",
        "Fig. 3c",
        "C_ϑ(ε) - C_ϑ(ε₀) at Δj = T₀ - 1: rms over ε < 0.1 and the same ℓ",
        _theta_constant,
        _is_small,
    ),
    ATTENTION_PART,
    Claim(
        "Attention and MLP sublayers add known parts of the angle metric.",
        "Fig. 3e",
        "sum of the increments of C_φ over attention (MLP: 1 minus it)",
        _attention("phi"),
        None,
    ),
    Claim(
        "Attention and MLP sublayers add known parts of the direction.",
        "Fig. 3f",
        "sum of the increments of C_ϑ over attention (not normalised)",
        _attention("theta_source"),
        None,
    ),
    Claim(
        "Early layers respond most at the same token, T₀.",
        "Fig. 4",
        "share of positions between 5 and 25 % of the depth whose peak is at T₀",
        _early_at_t0,
        lambda found: found.value > 0.5,
    ),
    Claim(
        "From intermediate layers on the peak is at T₀ - 1 (ℓ > 30 of 52 in Gemma-2-2B).",
        "abstract, Fig. 4",
        "onset position over 2L (1 if there is none); between 0.25 and 0.75 counts as intermediate",
        _onset,
        lambda found: 0.25 < found.value < 0.75,
    ),
    Claim(
        "The shift is gradual.",
        "abstract",
        "sublayers on which C(T₀ - 1) / (C(T₀ - 1) + C(T₀)) is 10 to 90 % of the way; more than "
        "one block is gradual",
        _gradual,
        lambda found: found.value > 2,
    ),
    Claim(
        "The rise of the peak belongs to intermediate layers.",
        "abstract",
        "share of all positive increments of C_Δ within the middle half of the depth; more "
        "than half is enough",
        _middle_rise,
        lambda found: found.value > 0.5,
    ),
    Claim(
        "Models share χ = ε / ε₀ over two orders of magnitude.",
        "Fig. 5a-c",
        "|δ(ε)|, its largest value from 0.0003 to ε₀ = 0.03",
        _universal,
        _is_small,
    ),
    Claim(
        "All of this in Gemma-2-2B, Llama-3.2-3B and GPT-2-XL.",
        "all figures",
        "needs their weights; one command each, see the page on running it",
        None,
        None,
    ),
    Claim(
        "Weak responses have reached their exact linear limit.",
        "beyond the paper",
        "C_Δ / (ε linear) at ε = 0.003: distance of its mean over Δj from 1; bound 1 %",
        _limit("delta"),
        lambda found: found.value < 0.01,
    ),
    LINEAR_REGIME,
    Claim(
        "The quadratic regime of the angle ends where it is 5 % off.",
        "beyond the paper",
        "largest ε with |C_φ / (ε^2 linear) - 1| < 5 %, mean over Δj",
        _largest("phi"),
        None,
    ),
)
