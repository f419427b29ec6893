"""What is computed of the effects of heads on the prediction, along `resample`."""

from collections.abc import Callable

import xarray as xr

from universal_response.claims.heads.picking import (
    constant,
    named,
    over,
    rank_correlation,
    sender,
    strongest,
    total,
)
from universal_response.claims.quantities import Evaluate

# Means on repeated tokens keep what is the same in all of them, such as how far back a repeat is.
MEAN = {"replacement": "unrepeated mean"}

KEYS, QUERIES, VALUES = ({"through": name} for name in ("keys", "queries", "values"))

EFFECTS = ("direct_effect", "ablation_effect")


def lost_without(name: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
        if not named(dataset, name).any():
            return constant(draws)
        left = draws.set_logit_difference.sel(MEAN)
        whole = left.sel(head_set="none", drop=True)
        random = _over_random(left, draws)
        return over(random - left.sel(head_set=name, drop=True), whole)

    return evaluate


def _over_random(of_sets: xr.DataArray, draws: xr.Dataset) -> xr.DataArray:
    return (of_sets * draws.set_weight).sum("head_set", skipna=False)


def queries_over_keys(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    if sender(dataset) is None:
        return constant(draws)

    def largest(change: Callable[[xr.Dataset], xr.DataArray]) -> xr.DataArray:
        measured, drawn = change(dataset), change(draws)
        rows = range(dataset.sizes["receiver"])
        at = [{"receiver": row} | strongest(measured.isel(receiver=row)) for row in rows]
        each = [drawn.isel(one, drop=True) for one in at]
        return xr.concat(each, "receiver").sum("receiver", skipna=False)

    through_queries = largest(lambda of: abs(of.edge_score.sel(QUERIES, drop=True)))
    return over(through_queries, largest(lambda of: -of.edge_score.sel(KEYS, drop=True)))


def values_over_keys(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    head = sender(dataset)
    if head is None:
        return constant(draws)
    known = dataset.edge_effect.isel(head).notnull().all("through").values
    cut = draws.edge_effect.isel(head).isel(receiver=known).sum("receiver", skipna=False)
    return over(abs(cut.sel(VALUES, drop=True)), -cut.sel(KEYS, drop=True))


def direct_of_induction(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    heads = named(dataset, "induction")
    direct, whole = (total(-draws[name], heads) for name in EFFECTS)
    return over(direct, whole) if heads.any() else constant(draws)


def direct_of_sender(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    head = sender(dataset)
    if head is None:
        return constant(draws)
    direct, whole = (-draws[name].isel(head) for name in EFFECTS)
    return over(direct, whole)


def pattern_without_effect(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    heads = named(dataset, "induction")
    if not heads.any():
        return constant(draws)
    nothing = draws.attribution <= 2 * dataset.attribution_sem
    return total(nothing.where(draws.attribution.notnull()), heads) / heads.sum()


def pattern_and_attribution(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    score = draws.attention_score.sel(score="induction", input="repeated", drop=True)
    return rank_correlation(score, draws.attribution)


def zeros_beyond_means(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    of_random = _over_random(draws.set_loss, draws)
    return of_random.sel(replacement="zero") - of_random.sel(MEAN)


def estimate_rank(name: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
        return rank_correlation(draws[f"{name}_estimate"], draws[name])

    return evaluate


def estimate_miss(name: str) -> Evaluate:
    def evaluate(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
        def miss(of: xr.Dataset) -> xr.DataArray:
            return abs(of[f"{name}_estimate"] - of[name])

        largest = strongest(abs(dataset[name]))
        return miss(draws).isel(strongest(miss(dataset))) / abs(draws[name].isel(largest))

    return evaluate
