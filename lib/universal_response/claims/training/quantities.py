"""What is computed of a study of training: a number for every seed, or for every pair of them."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from universal_response.training import summaries
from universal_response.training.summaries import FULL, RESPONSES

Quantity = Callable[[xr.Dataset], np.ndarray]

# Loss below which a model is no longer on the plateau.
LEFT = 0.6
# Induction strength above which a head is called an induction head.
STRONG = 0.5


def plateau_above_ln2(study: xr.Dataset) -> np.ndarray:
    return summaries.plateau(study, FULL).values - summaries.LN2


def learned(experiment: str) -> Quantity:
    def quantity(study: xr.Dataset) -> np.ndarray:
        return summaries.learned(study, experiment).values

    return quantity


def accuracy(split: str) -> Quantity:
    def quantity(study: xr.Dataset) -> np.ndarray:
        return summaries.runs_of(study, FULL).accuracy.sel(split=split).isel(time=-1).values

    return quantity


def steepness(study: xr.Dataset) -> np.ndarray:
    return summaries.steepness(study, FULL).values


def later(first: str, second: str) -> Quantity:
    """Time that the second experiment takes to learn over that of the first, of all pairs."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        times = (summaries.learned(study, name) for name in (first, second))
        return summaries.ratios(*times)

    return quantity


def delay(data: str, clamp: str = "nothing") -> Quantity:
    """Time to learn other data over that of the usual ones, seed by seed."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        return summaries.delays(study, data)[clamp].values

    return quantity


def strong_heads(study: xr.Dataset) -> np.ndarray:
    """Heads of layer 2 that attend to the right label more than to the wrong one by half."""
    return (study.strength > STRONG).sum("head").values


def range_of_strengths(study: xr.Dataset) -> np.ndarray:
    return (study.strength.max("head") - study.strength.min("head")).values


def alone_by_strength(study: xr.Dataset) -> np.ndarray:
    return summaries.rank_correlation(study.keep_one_accuracy, study.strength, "head").values


def cost_of_any_head(study: xr.Dataset) -> np.ndarray:
    return (study.whole_accuracy - study.drop_one_accuracy.min("head")).values


def gained_by_second(study: xr.Dataset) -> np.ndarray:
    loss = study.added_back_loss
    return (loss.sel(n_heads=2) / loss.sel(n_heads=1)).values


def last_head_lowers(study: xr.Dataset) -> np.ndarray:
    loss = study.added_back_loss
    return (loss.sel(n_heads=8) / loss.sel(n_heads=2)).values


def cost_of_path(study: xr.Dataset) -> np.ndarray:
    return (study.whole_accuracy - study.without_path_accuracy).values


def feeding_heads(name: str) -> Quantity:
    """How many heads of layer 1 give a head of layer 2 at least half of what the best one gives."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        gained = study.gained_with.sel(input=name)
        fed = (gained > 0.5 * gained.max("first_head")).sum("first_head")
        return fed.where(study.strength > STRONG).mean("head").values

    return quantity


def contrast_before(study: xr.Dataset) -> np.ndarray:
    """Largest |S| while the loss is on its plateau or above."""
    loss = summaries.training_loss(study, RESPONSES)
    on_plateau = (loss < LEFT).cumsum("time") == 0
    return abs(summaries.contrast(study, RESPONSES)).where(on_plateau).max("time").values


def contrast_at_end(study: xr.Dataset) -> np.ndarray:
    return summaries.contrast(study, RESPONSES).isel(time=-1).values


def lag(behind: str) -> Quantity:
    """When S is half-way over when the loss, or the strength, is, seed by seed."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        found = summaries.half_points(study, RESPONSES)
        return (found.contrast / found[behind]).values

    return quantity


def leak(study: xr.Dataset) -> np.ndarray:
    return study.leak.values


def toy_earlier(more: str, fewer: str) -> Quantity:
    """End of the plateau with fewer vectors given over that with more, seed by seed."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        return (study.toy_end.sel(given=fewer) / study.toy_end.sel(given=more)).values

    return quantity


def ablated(preserved: str, which: str) -> Quantity:
    """Accuracy with heads of layer 1 ablated."""

    def quantity(study: xr.Dataset) -> np.ndarray:
        found = study.previous_ablated_accuracy.sel(preserved=preserved, ablated=which)
        return found.values

    return quantity
