"""Findings in words: the table of the claims page, and five sentences."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd
import xarray as xr

from universal_response import response
from universal_response.claims.statements import ATTENTION_PART, CLAIMS, LINEAR_REGIME, PEAK, Claim
from universal_response.claims.verdicts import FAILS, HOLDS, UNDECIDED, Finding, Range
from universal_response.response import Estimate


def table(findings: Mapping[str, list[Finding]]) -> pd.DataFrame:
    """One row a claim: statement, source, value and verdict for each model, and the quantity.

    Args:
        findings: of `evaluate_claims` and the like, by title of the model.

    Returns:
        Table with the columns `statement`, `source`, one for each title, and `tested by`; rows are
        counted from 1.
    """
    rows = []
    for of_models in zip(*findings.values(), strict=True):
        claim = of_models[0].claim
        row = {"statement": claim.statement, "source": claim.source}
        row |= dict(zip(findings, map(_text, of_models), strict=True))
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
        texts = ["not testable" if one is None else said(one) for one in estimates]
        return _each(texts, datasets)

    first = next(iter(datasets.values()))
    epsilon0 = float(first.attrs["epsilon0"])
    sizes, attrs = first.sizes, first.attrs
    onsets = [response.induction_onset(dataset, epsilon0) for dataset in datasets.values()]
    moved = [
        f"{'none' if onset.position is None else onset.position} of {response.last(dataset)}"
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


def said(found: Estimate | Range) -> str:
    """An estimate with its error, or the range over seeds."""
    return median_and_range(found) if isinstance(found, Range) else value_and_error(found)


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


def _each(texts: list[str], titles: Iterable[str]) -> str:
    return " and ".join(f"{text} ({title})" for text, title in zip(texts, titles, strict=True))


def _text(finding: Finding) -> str:
    if finding.estimate is None:
        return finding.verdict
    return f"{said(finding.estimate)}: {finding.verdict}"
