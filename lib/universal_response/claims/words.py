"""Findings in words: the table of the claims page, and five sentences."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd
import xarray as xr

from universal_response import response
from universal_response.claims.statements import (
    CLAIMS,
    LINEAR_REGIME,
    PEAKS,
    STEPS,
    Claim,
)
from universal_response.claims.verdicts import FAILS, HOLDS, LEVEL, UNDECIDED, Finding, Range
from universal_response.response import Estimate


def table(findings: Mapping[str, list[Finding]]) -> pd.DataFrame:
    """One row a claim: statement, source, value and verdict for each model, and the quantity.

    Args:
        findings: of `evaluate_claims` and the like, by title of the model.

    Returns:
        Table with the columns `statement`, `source`, `average` where there are several, one for
        each title, and `tested by`; rows are counted from 1.
    """
    rows = []
    for of_models in zip(*findings.values(), strict=True):
        claim = of_models[0].claim
        row = {"statement": claim.statement, "source": claim.source, "average": claim.average}
        row |= dict(zip(findings, map(_text, of_models), strict=True))
        rows.append(row | {"tested by": claim.quantity})
    found = pd.DataFrame(rows, index=range(1, len(rows) + 1))
    return found if found.average.any() else found.drop(columns="average")


def counts(findings: list[Finding]) -> str:
    """How many of the statements that could have failed do what, and how many of the others."""

    def verdicts(could_fail: bool) -> tuple[int, ...]:
        tested = [
            one.verdict
            for one in findings
            if one.p is not None and one.claim.could_fail == could_fail
        ]
        return len(tested), *(tested.count(verdict) for verdict in (HOLDS, FAILS, UNDECIDED))

    texts = [
        "{1} of {0} hold, {2} do not and {3} stay undecided".format(*verdicts(could_fail))
        for could_fail in (True, False)
    ]
    return f"of what could have failed {texts[0]}; of what follows from smoothness {texts[1]}"


def undecided(
    findings: Mapping[str, list[Finding]], datasets: Mapping[str, xr.Dataset]
) -> pd.DataFrame:
    """What stays undecided, and how many sequences would settle it if its value stayed.

    Errors fall with the square root of the number of sequences; needed is the significance at
    which the first of all that is undecided would be accepted.

    Args:
        findings: of `evaluate_claims`.
        datasets: results by the same titles.

    Returns:
        Table with the columns `model`, `statement`, `average` and `sequences`.
    """
    left = [
        (title, one.claim, one.p)
        for title, found in findings.items()
        for one in found
        if one.verdict == UNDECIDED and one.p is not None
    ]
    rows = []
    for title, claim, p in left:
        enough = response.sequences_needed(datasets[title].sizes["sequence"], p, LEVEL / len(left))
        rows.append((title, claim.statement, claim.average, enough))
    return pd.DataFrame(rows, columns=["model", "statement", "average", "sequences"])


def in_brief(
    datasets: Mapping[str, xr.Dataset],
    findings: Mapping[str, list[Finding]],
    studies: Mapping[str, xr.Dataset],
) -> list[str]:
    """What was found, on which models and how surely, in six sentences of Markdown.

    Args:
        datasets: results by title.
        findings: of `evaluate_claims`, by the same titles.
        studies: of `heads.study_heads`, by the same titles.
    """

    def values(claim: Claim) -> str:
        estimates = [found[CLAIMS.index(claim)].estimate for found in findings.values()]
        texts = ["not testable" if one is None else said(one) for one in estimates]
        return _each(texts, datasets)

    first = next(iter(datasets.values()))
    epsilon0, sizes, attrs = float(first.attrs["epsilon0"]), first.sizes, first.attrs
    return [
        f"When one token of a repeated random sequence is weakened by {epsilon0:.0%}, of the last "
        "residual vectors near its repeat the one just *before* it responds most. Over the next "
        f"largest within five tokens it leads by a factor of {values(PEAKS[0])}; in geometric "
        f"means, which no few pairs carry, {values(PEAKS[1])}.",
        f"Early in the network the peak stands at the same token instead. {_moved(datasets)} The "
        "largest step of a single sublayer, the whole way from one to the other being 1, is "
        f"{values(STEPS[0])}.",
        f"Behaviour goes with it. {_behaviour(studies)}",
        "That a weak response is proportional to the strength follows for any smooth function. How "
        "far it reaches does not: the response just before the repeat keeps within 5% of its exact "
        f"linear limit up to $\\varepsilon$ = {values(LINEAR_REGIME[0])}, that at all distances "
        f"(root mean square) up to {values(LINEAR_REGIME[1])}.",
        f"How sure: {sizes['sequence']} sequences of {sizes['token']} tokens (seed "
        f"{attrs['seed']}, {attrs['dtype']}); in brackets intervals of 95%. Of the statements "
        f"tested against a bound, {_each(map(counts, findings.values()), datasets)}; the chance "
        f"that any of these verdicts is wrong is below {LEVEL:.0%}.",
    ]


def _moved(datasets: Mapping[str, xr.Dataset]) -> str:
    """First and last crossing, and the range of the latter over metrics."""
    texts = []
    for title, dataset in datasets.items():
        epsilon0 = float(dataset.attrs["epsilon0"])
        first, *others = (
            response.induction_onset(dataset, epsilon0, metric)
            for metric in ("delta", "phi", "theta_source")
        )
        by_metric = [f"{one.position}" for one in (first, *others)]
        texts.append(
            f"In {title} it first stands before the repeat at position $\\ell$ = {first.first} of "
            f"{response.last(dataset)}, and for good from {first.position} on (by length, angle "
            f"and direction of the response: {', '.join(by_metric)})."
        )
    return " ".join(texts)


def _behaviour(studies: Mapping[str, xr.Dataset]) -> str:
    """Loss on the second copy, and the logit difference with and without induction heads."""
    texts = []
    for title, study in studies.items():
        t0 = int(study.attrs["t0"])
        loss = study.loss.sel(query=slice(t0, None)).mean("query")
        sets = study.set_logit_difference.sel(replacement="mean").mean("mapped_sequence")
        texts.append(
            f"On the second copy the loss of {title} is {_value(loss, loss_input='repeated')} nats "
            f"a token, on as late tokens that do not repeat "
            f"{_value(loss, loss_input='unrepeated')}; with the outputs of its induction heads at "
            f"their means the logit of the right token leads by "
            f"{_value(sets, head_set='induction')} instead of {_value(sets, head_set='none')}."
        )
    return " ".join(texts)


def _value(values: xr.DataArray, **at: str) -> str:
    return f"{float(values.sel(at)):.1f}"


def said(found: Estimate | Range) -> str:
    """An estimate with its error or interval, or the range over seeds."""
    if isinstance(found, Range):
        return median_and_range(found)
    return value_and_interval(found) if math.isfinite(found.freedom) else value_and_error(found)


def value_and_interval(estimate: Estimate) -> str:
    """A value with its interval of 95 %, to three digits."""
    low, high = estimate.interval
    return f"{_short(estimate.value)} ({_short(low)} to {_short(high)})"


def value_and_error(estimate: Estimate) -> str:
    """Two digits of the error, and the value to the same place."""
    error = estimate.error
    places = max(1 - math.floor(math.log10(error)), 0) if error > 0 else 3
    return f"{estimate.value:.{places}f} ± {error:.{places}f}"


def median_and_range(found: Range) -> str:
    """The median of the seeds to three digits, and the lowest and the highest of them."""
    median, low, high = (_short(number) for number in (found.median, found.low, found.high))
    return f"{median} ({low} to {high})"


def _short(number: float) -> str:
    """Three digits; thousands as such."""
    if not math.isfinite(number):
        return "never"
    if abs(number) >= 10_000:
        return f"{number / 1000:,.0f} thousand"
    return f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.3g}"


def _each(texts: Iterable[str], titles: Iterable[str]) -> str:
    return " and ".join(f"{text} ({title})" for text, title in zip(texts, titles, strict=True))


def _text(finding: Finding) -> str:
    if finding.estimate is None:
        return finding.verdict
    return f"{said(finding.estimate)}: {finding.verdict}"
