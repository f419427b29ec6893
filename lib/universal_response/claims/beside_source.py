"""Numbers of the paper on the formation of induction heads, and the same of a study here."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from universal_response.claims.training import quantities as of
from universal_response.claims.verdicts import Range
from universal_response.claims.words import median_and_range
from universal_response.training import summaries
from universal_response.training.summaries import CLASSES, FULL, LABELS, SINGLE


@dataclass(frozen=True)
class Compared:
    """A number that the paper gives, or that its code or a plot of it shows.

    Attributes:
        quantity: what it is, in our words.
        source: the number there; `about` where it was read off a plot.
        evaluate: a study -> the same number of every seed.
    """

    quantity: str
    source: str
    evaluate: of.Quantity


def _loss_at_end(split: str) -> of.Quantity:
    return lambda study: summaries.runs_of(study, FULL).loss.sel(split=split).isel(time=-1).values


def _of_head(rank: int, name: str) -> of.Quantity:
    """A measure of the head of this rank by its induction strength."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        head = study.strength.values.argsort(1)[:, ::-1][:, rank]
        return np.take_along_axis(study[name].values, head[:, None], 1)[:, 0]

    return quantity


def _added_back(n_heads: int) -> of.Quantity:
    return lambda study: study.added_back_loss.sel(n_heads=n_heads).values


def _without_path(study: xr.Dataset) -> np.ndarray:
    return study.without_path_accuracy.values


NUMBERS = (
    Compared("loss on the plateau", "about 0.73", lambda s: summaries.plateau(s, FULL).values),
    Compared("loss on unseen classes at the end", "about 0.12", _loss_at_end("unseen")),
    Compared("strength of the strongest induction head", "0.85", _of_head(0, "strength")),
    Compared("of the second", "0.74", _of_head(1, "strength")),
    Compared("of the weakest", "0.10", _of_head(-1, "strength")),
    Compared("accuracy with the strongest alone", "0.98", _of_head(0, "keep_one_accuracy")),
    Compared("with the second alone", "0.77", _of_head(1, "keep_one_accuracy")),
    Compared("with the weakest alone", "0.29", _of_head(-1, "keep_one_accuracy")),
    Compared("loss with the strongest alone", "about 0.117", _added_back(1)),
    Compared("with the two strongest", "about 0.044", _added_back(2)),
    Compared("with the three strongest", "about 0.010", _added_back(3)),
    Compared("accuracy without the path from layer 1 to the output", "0.99986", _without_path),
    Compared(
        "accuracy with previous-token heads ablated, patterns kept", "0.9985",
        of.ablated("pattern", "previous"),
    ),
    Compared("the same, values kept", "0.699", of.ablated("value", "previous")),
    Compared(
        "with all others ablated, patterns kept", "0.343", of.ablated("pattern", "others")
    ),
    Compared("the same, values kept", "0.993", of.ablated("value", "others")),
    Compared("sequences to a loss of .35: L1 + copy", "26 thousand", of.learned("L1 + copy")),
    Compared("match", "30 thousand", of.learned("match")),
    Compared("copy", "40 thousand", of.learned("copy")),
    Compared("L1", "70 thousand", of.learned("L1")),
    Compared("PT", "200 thousand", of.learned("PT")),
    Compared("none", "300 thousand", of.learned("none")),
    Compared("all PT", "about 500 thousand", of.learned("all PT")),
    Compared("single heads", "about 260 to 590 thousand", of.learned(SINGLE)),
    Compared("delay by 100 classes", "about 1.2", of.delay(CLASSES)),
    Compared("delay by 10 labels", "about 2.8", of.delay(LABELS)),
)  # fmt: skip


def beside_source(study: xr.Dataset) -> pd.DataFrame:
    """One row a number: what it is, in the paper, and here as the median and range over seeds.

    Args:
        study: of `training.study_training`.

    Returns:
        Table with the columns `quantity`, `in the paper` and `here`; rows are counted from 1.
    """
    found = [Range.of(each.evaluate(study)) for each in NUMBERS]
    rows = [
        {"quantity": each.quantity, "in the paper": each.source, "here": median_and_range(here)}
        for each, here in zip(NUMBERS, found, strict=True)
    ]
    return pd.DataFrame(rows, index=range(1, len(rows) + 1))
