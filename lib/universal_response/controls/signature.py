"""The signature of induction in a control: is it there, is it not, or does the sample not tell?

Bounds and level were written down before any control was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from universal_response import response
from universal_response.controls.catalogue import ABSENT, CONTROLS, PRESENT

# The response where induction has its peak exceeds that of its neighbours, in geometric means over
# pairs and sequences, by more than this factor; without induction it does not.
FACTOR = 1.25
LEVEL = 0.05  # that any of all verdicts together is wrong
OPEN = "not resolved"


@dataclass(frozen=True)
class Signature:
    """Of one control and model.

    Attributes:
        ratio: C_delta at the end of the model, at the expected distance over that of the others
            within five of T0; geometric means, in the limit.
        low, high: of its interval of 95 %.
        p_present, p_absent: one-sided p-values that it is at most, and at least, `FACTOR`.
        n: sequences.
    """

    ratio: float
    low: float
    high: float
    p_present: float
    p_absent: float
    n: int


def log_ratios(dataset: xr.Dataset) -> np.ndarray:
    """Of every sequence the logarithm of the ratio; without those that have no such pair."""
    distance = int(dataset.attrs["distance"])
    near = response.window(distance + 1, t=dataset.sizes["token"])
    logs = dataset.linear_last_log_sum / dataset.linear_last_log_n.where(
        dataset.linear_last_log_n > 0
    )
    logs = logs.sel(metric="delta", delta_j=near)
    others = logs.where(logs.delta_j != distance).mean("delta_j")
    found = (logs.sel(delta_j=distance) - others).values
    return found[np.isfinite(found)]


def signature(dataset: xr.Dataset) -> Signature:
    """Student's t over sequences, of logarithms, whose tails are light.

    Args:
        dataset: of a control, with at least two sequences.
    """
    values = log_ratios(dataset)
    n, mean = len(values), values.mean()
    error = values.std(ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * error
    t = (mean - np.log(FACTOR)) / error
    return Signature(
        float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half)),
        float(stats.t.sf(t, n - 1)), float(stats.t.cdf(t, n - 1)), n,
    )  # fmt: skip


def verdicts(found: Mapping[tuple[str, str], Signature]) -> dict[tuple[str, str], str]:
    """`present`, `absent` or `not resolved` of every control, by Holm's method over all of them.

    Args:
        found: by control and model; both questions are asked of each.
    """
    asked = list(found.values())
    p = np.array([[one.p_present, one.p_absent] for one in asked])
    rejected = response.holm(p, LEVEL)
    return {
        key: PRESENT if present else ABSENT if absent else OPEN
        for key, (present, absent) in zip(found, rejected, strict=True)
    }


def table(
    found: Mapping[tuple[str, str], Signature], verdicts: Mapping[tuple[str, str], str]
) -> pd.DataFrame:
    """A row each control and model, in that order.

    Returns:
        Table with the columns `control`, in words, `model`, `expected`, `ratio`, the ends `low` and
        `high` of its interval, `verdict`, and `sequences`: how many would resolve what is open, if
        its ratio stayed.
    """
    words = {each.name: (each.words, each.expected) for each in CONTROLS}
    # Two questions of each, of which one is answered where it is not open.
    left = len(verdicts) + list(verdicts.values()).count(OPEN)
    rows = []
    for (name, model), one in found.items():
        verdict, needed = verdicts[name, model], ""
        if verdict == OPEN:  # the first of those left is the next accepted
            nearer = min(one.p_present, one.p_absent)
            needed = str(response.sequences_needed(one.n, nearer, LEVEL / left))
        said, expected = words[name]
        rows.append((said, model, expected, one.ratio, one.low, one.high, verdict, needed))
    columns = ["control", "model", "expected", "ratio", "low", "high", "verdict", "sequences"]
    return pd.DataFrame(rows, columns=columns)
