"""What is computed of behaviour, attention patterns and weights, along `resample`."""

import xarray as xr

from universal_response.claims.heads.picking import (
    MAP,
    constant,
    first_layer,
    named,
    sender,
    strongest,
    total,
)


def _score(of: xr.Dataset, score: str, given: str = "repeated") -> xr.DataArray:
    return of.attention_score.sel(score=score, input=given, drop=True)


def repeats(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    return draws.logit_difference


def earlier_previous_token(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    first = first_layer(dataset)
    if first is None:
        return constant(draws)
    earlier = named(dataset, "previous_token").isel(layer=slice(first))
    if not earlier.any():
        return constant(draws, 0)
    score = _score(dataset, "previous_token").isel(layer=slice(first))
    return _above_shuffled(draws, "previous_token", strongest(score.where(earlier)))


def previous_token_of_sender(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    head = sender(dataset)
    if head is None:
        return constant(draws)
    return _above_shuffled(draws, "previous_token", head)


def _above_shuffled(draws: xr.Dataset, score: str, head: dict[str, int]) -> xr.DataArray:
    """A head's score less the largest of all heads of the model with shuffled weights."""
    return _score(draws, score).isel(head) - _score(draws, score, "shuffled weights").max(MAP)


def shuffled_induction(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    largest = _score(draws, "induction").max(MAP)
    return _score(draws, "induction", "shuffled weights").max(MAP) / largest


def without_distance(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    induction = named(dataset, "induction")
    if not induction.any():
        return constant(draws)
    kept = dataset.prefix_matching_gapped / _score(dataset, "induction")
    head = strongest(-kept.where(induction))
    return dataset.prefix_matching_gapped.isel(head) / _score(draws, "induction").isel(head)


def duplicate_heads(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    score = _score(draws, "duplicate_token")
    clear = (score >= float(dataset.attrs["least_score"])).where(score.notnull())
    return total(clear, named(dataset, "duplicate_token"))


def duplicate_score(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    def above(of: xr.Dataset) -> xr.DataArray:
        score = "duplicate_token"
        return _score(of, score) - _score(of, score, "unrepeated")

    return above(draws).isel(strongest(above(dataset)))


def copying(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    induction = named(dataset, "induction")
    return _over_heads(dataset.copying, draws, induction) - _over_heads(
        dataset.copying, draws, ~induction
    )


def write_where_they_read(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    by_chance = float(dataset.read_write_by_chance)
    above = (dataset.read_write_overlap - by_chance) / (1 - by_chance)
    return _over_heads(above, draws, xr.ones_like(above, dtype=bool))


def _over_heads(values: xr.DataArray, draws: xr.Dataset, among: xr.DataArray) -> xr.DataArray:
    """Mean over heads drawn with replacement, as far as known; nan if there are none."""
    among = among & values.notnull()
    weight = draws.head_weight * among
    whole = weight.sum(MAP)
    return total(values * weight, among) / whole.where(whole > 0)
