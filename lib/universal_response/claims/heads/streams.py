"""What is computed of the residual stream, along `resample`: responses, lens and subspaces."""

import xarray as xr

from universal_response.claims.heads.picking import constant, named, onset, rank_correlation


def _at_peak(shares: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    return shares.sel(compared=int(dataset.attrs["t0"]) - 1, drop=True)


def heads_at_onset(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    position = onset(dataset)
    if position is None:
        return constant(draws)
    mlps = draws.share_all_mlps.sel(strength="limit", drop=True).isel(position=position)
    return 1 - _at_peak(mlps, dataset)


def induction_at_onset(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    position = onset(dataset)
    if position is None or not named(dataset, "induction").any():
        return constant(draws)
    shares = draws.share_induction.sel(strength="limit", drop=True).isel(position=position)
    shares = shares.sum("part", skipna=False)
    return _at_peak(shares, dataset) - shares.isel(compared=0)


def mlps_at_end(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    mlps = draws.share_all_mlps.sel(strength="limit", drop=True).isel(position=-1)
    return _at_peak(mlps, dataset)


def share_and_effect(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    share = _at_peak(dataset.share.sel(strength="limit", drop=True), dataset).isel(position=-1)
    return rank_correlation(share, -draws.ablation_effect)


def share_of_strength(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    if not named(dataset, "induction").any():
        return constant(draws)
    shares = _at_peak(draws.share_induction, dataset).isel(position=-1).sum("part", skipna=False)
    return abs(shares.sel(strength="finite") - shares.sel(strength="limit"))


def grows_beyond_probability(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    def late(name: str) -> xr.DataArray:
        """What of the whole rise comes in the last quarter of the depth."""
        of = draws[f"lens_{name}"]
        last = of.sizes["position"] - 1
        first, before, end = (of.isel(position=at) for at in (0, round(0.75 * last), last))
        return (end - before) / (end - first)

    growth = late("logit_difference")
    beyond = growth - late("probability")
    return growth.where(growth < beyond, beyond)


def place_and_token(dataset: xr.Dataset, draws: xr.Dataset) -> xr.DataArray:
    # At the input of a rotary model nothing but chance tells places apart.
    inside = dataset.place_token_overlap.isel(position=slice(1, None))
    weight = draws.position_weight.isel(position=slice(1, None)) * inside.notnull()
    above = (inside - dataset.random_overlap).fillna(0)
    return (above * weight).sum("position") / weight.sum("position")
