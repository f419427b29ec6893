"""What a study of heads says, in a few numbers with errors. Pure functions of its Dataset."""

import numpy as np
import pandas as pd
import xarray as xr

from universal_response.response import mean_and_error

CLASSES = ("induction", "previous_token", "duplicate_token")
OTHER, MLPS, RANDOM = "other heads", "MLPs", "random heads"


def shares_of_classes(dataset: xr.Dataset) -> xr.Dataset:
    """Shares of the response of classes of heads, of the other heads and of MLPs: together 1.

    Returns:
        `mean` and `error` (group, strength, compared, position).
    """
    groups = {name: dataset[f"share_{name}"].sum("part") for name in CLASSES}
    mlps = dataset.share_all_mlps
    groups |= {OTHER: 1 - mlps - sum(groups.values()), MLPS: mlps}
    joined = xr.concat(
        groups.values(), xr.Variable("group", list(groups)), coords="minimal", compat="override"
    )
    return mean_and_error(joined, "evaluated_sequence")


def carried_where_added(dataset: xr.Dataset) -> xr.DataArray:
    """What each head carries of C_delta at T0 - 1 in the limit, behind the attention of its layer.

    Returns:
        (layer, head), in units of C_delta: a large share of a small response is small here.
    """
    carried = dataset.carried.sel(strength="limit", compared=dataset.attrs["t0"] - 1, drop=True)
    rows = [
        carried.isel(layer=layer, position=behind_attention(dataset, layer))
        for layer in range(dataset.sizes["layer"])
    ]
    return xr.concat([row.reset_coords(drop=True) for row in rows], "layer")


def behind_attention(dataset: xr.Dataset, layer: int) -> int:
    """The first position of a layer, behind its attention or, in parallel blocks, the block."""
    mine = (dataset.position_layer == layer) & (dataset.sublayer != "input")
    return int(mine.values.argmax())


def faithfulness_by_size(dataset: xr.Dataset) -> xr.Dataset:
    """(m(C) - m()) / (m(M) - m()), means over sequences before the ratio.

    Returns:
        `mean` and `error` (ranking, circuit_size); the error is that of m(C).
    """
    found = mean_and_error(dataset.circuit_logit_difference, "mapped_sequence")
    none, whole = found["mean"].isel(circuit_size=0), found["mean"].isel(circuit_size=-1)
    return xr.Dataset(
        {"mean": (found["mean"] - none) / (whole - none), "error": found.error / abs(whole - none)}
    )


def edited_change(dataset: xr.Dataset) -> xr.Dataset:
    """log10 of the response at T0 - 1 of edited models over that of the whole one, paired.

    Returns:
        `mean` and `error` (condition, strength); of random heads the spread between draws.
    """
    logs = dataset.edited_log_response.sel(distance=dataset.attrs["t0"] - 1)
    return _edited(logs - logs.sel(condition="none", drop=True))


def edited_lead(dataset: xr.Dataset) -> xr.Dataset:
    """log10 of the response at T0 - 1 over that at T0, of edited models.

    Returns:
        As `edited_change`.
    """
    logs, t0 = dataset.edited_log_response, dataset.attrs["t0"]
    return _edited(logs.sel(distance=t0 - 1, drop=True) - logs.sel(distance=t0, drop=True))


def edited_along(dataset: xr.Dataset) -> xr.Dataset:
    """log10 of the response at T0 - 1 of edited models over that of the whole one, at every l.

    Returns:
        `mean` and `error` (condition, strength, position); nan where nothing responds yet.
    """
    values = dataset.edited_along.sel(compared=dataset.attrs["t0"] - 1, drop=True)
    logs = np.log(values.where(values > 0))
    return _edited(logs - logs.sel(condition="none", drop=True))


def cut_edges(dataset: xr.Dataset) -> list[str]:
    """Conditions in which the edge of one head to the keys of induction heads is cut."""
    cut = [str(name) for name in dataset.condition.values if " to keys " in str(name)]
    return [name for name in cut if not name.startswith("previous_token")]


def _edited(logs: xr.DataArray) -> xr.Dataset:
    values = logs / np.log(10)
    is_random = values.condition.str.startswith("random")
    found = mean_and_error(values.isel(condition=~is_random), "perturbed_sequence")
    draws = values.isel(condition=is_random).mean("perturbed_sequence")
    random = xr.Dataset({"mean": draws.mean("condition"), "error": draws.std("condition", ddof=1)})
    return xr.concat([found, random.expand_dims(condition=[RANDOM])], "condition")


def sets_replaced(dataset: xr.Dataset, name: str, change: bool = False) -> xr.Dataset:
    """A variable with sets of heads replaced; of random sets the mean and the spread of draws.

    Args:
        dataset: of `heads.study_heads`.
        name: `set_logit_difference` or `set_loss`.
        change: less that of the whole model, paired.

    Returns:
        `mean` and `error` (head_set, replacement).
    """
    values = dataset[name]
    if change:
        values = values - values.sel(head_set="none", drop=True)
    is_random = values.head_set.str.startswith("random")
    found = mean_and_error(values.isel(head_set=~is_random), "mapped_sequence")
    draws = values.isel(head_set=is_random).mean("mapped_sequence")
    random = xr.Dataset({"mean": draws.mean("head_set"), "error": draws.std("head_set", ddof=1)})
    return xr.concat([found, random.expand_dims(head_set=[RANDOM])], "head_set")


def of_class(dataset: xr.Dataset, name: str) -> list[tuple[int, int]]:
    """Layer and head of the heads of a class; all others with ""."""
    layers, heads = np.nonzero((dataset.head_class == name).values)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def ranked(values: xr.DataArray) -> list[tuple[int, int]]:
    """Layer and head in the order of their numbers, the least first; none where there is none."""
    order = np.argsort(values.transpose("layer", "head").values, axis=None)
    known = int(values.notnull().sum())
    return [divmod(int(k), values.sizes["head"]) for k in order[:known]]


def strongest_receivers(dataset: xr.Dataset, n: int = 3) -> list[str]:
    """Induction heads to whose score some edge matters most, in the order of their layers."""
    least = dataset.edge_score.sel(through="keys").min(("layer", "head"))
    strongest = least.sortby(least).receiver.values[:n].tolist()
    return sorted(strongest, key=lambda name: int(str(name).split(".")[0]))


def lead_by_position(dataset: xr.Dataset) -> xr.DataArray:
    """log10 of the response at T0 - 1 over that at T0 along l, in the limit; nan at l = 0."""
    response, t0 = dataset.response.sel(strength="limit"), dataset.attrs["t0"]
    ratio = response.sel(distance=t0 - 1, drop=True) / response.sel(distance=t0, drop=True)
    return np.log10(ratio.where(ratio > 0))


def lens_by_position(dataset: xr.Dataset) -> xr.Dataset:
    """Mean and error of the logit difference of the lens along l, with `position` as coordinate."""
    lens = dataset.lens_logit_difference
    at = np.arange(lens.sizes["position"])
    return mean_and_error(lens, "mapped_sequence").assign_coords(position=at)


def part_of_the_way(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """A measure of the lens along l, from 0 where it is least to 1 where it is largest."""
    mean = dataset[name].mean("mapped_sequence")
    return (mean - mean.min()) / (mean.max() - mean.min())


def table_of_classes(dataset: xr.Dataset) -> pd.DataFrame:
    """Every head that has a class: its score, that of unrepeated tokens, and what it carries.

    Returns:
        One row a head, by class and score, with the columns `class`, `head`, `score`, `error`,
        `unrepeated`, and `carried` (of C_delta at T0 - 1, where the head adds it).
    """
    carried = carried_where_added(dataset)
    rows = []
    for name in CLASSES:
        score = dataset.attention_score.sel(score=name)
        error = dataset.attention_score_sem.sel(score=name, input="repeated")
        for layer, head in of_class(dataset, name):
            at = {"layer": layer, "head": head}
            one = score.isel(at)
            rows.append(
                {
                    "class": name.replace("_", " "),
                    "head": f"{layer}.{head}",
                    "score": float(one.sel(input="repeated")),
                    "error": float(error.isel(at)),
                    "unrepeated": float(one.sel(input="unrepeated")),
                    "carried": float(carried.isel(at)),
                }
            )
    found = pd.DataFrame(rows, columns=["class", "head", "score", "error", "unrepeated", "carried"])
    return found.sort_values(["class", "score"], ascending=[True, False], ignore_index=True)


def table_of_backups(dataset: xr.Dataset, heads: int = 2) -> pd.DataFrame:
    """Other heads that gain most when the induction heads of a layer are at their means.

    Returns:
        One row a head, with its `class` and what it writes of the logit difference: `attribution`
        in the whole model, `gain` without the others, and the `error` of that.
    """
    rows = []
    for layer in dataset.ablated_layer.values:
        ablated = (dataset.head_class == "induction") & (dataset["layer"] == layer)
        gain = dataset.backup_gain.sel(ablated_layer=layer).where(~ablated)
        for at_layer, head in ranked(-gain)[:heads]:
            at = {"layer": at_layer, "head": head}
            rows.append(
                {
                    "without layer": int(layer),
                    "head": f"{at_layer}.{head}",
                    "class": str(dataset.head_class.isel(at).values).replace("_", " "),
                    "attribution": float(dataset.attribution.isel(at)),
                    "gain": float(gain.isel(at)),
                    "error": float(dataset.backup_gain_sem.sel(ablated_layer=layer).isel(at)),
                }
            )
    return pd.DataFrame(rows)


def table_of_edits(dataset: xr.Dataset) -> pd.DataFrame:
    """What edits of the model leave of the response at T0 - 1, at the last position.

    Returns:
        One row a condition, with log10 of the response against that of the whole model, in the
        `limit` and at `finite` strength, its `lead` over that at T0 in the limit, and both errors.
    """
    change, lead = edited_change(dataset), edited_lead(dataset).sel(strength="limit")
    limit, finite = (change.sel(strength=each) for each in ("limit", "finite"))
    columns = {
        "limit": limit["mean"],
        "finite": finite["mean"],
        "error": limit.error,
        "lead": lead["mean"],
        "its error": lead.error,
    }
    names = [str(name).replace("_", " ") for name in change.condition.values]
    return pd.DataFrame({name: each.values for name, each in columns.items()}, index=names)


def table_of_edges(dataset: xr.Dataset, senders: int = 2) -> pd.DataFrame:
    """Into each layer of induction heads, the senders whose edge to keys matters most.

    Returns:
        One row a sender, with the change of the induction score of `into` when its edge through
        `keys`, `queries` or `values` is cut, the error of the first, the change of the logit
        `difference`, `composition` of weights and `part`, its part of the score in the data.
    """
    rows = []
    for receiver in dataset.receiver.values:
        one = dataset.sel(receiver=receiver)
        for layer, head in ranked(one.edge_score.sel(through="keys"))[:senders]:
            at = {"layer": layer, "head": head}
            score = one.edge_score.isel(at)
            scores = {str(k): float(score.sel(through=k)) for k in one.through.values}
            rows.append(
                {"into": receiver, "sender": f"{layer}.{head}"}
                | scores
                | {
                    "error": float(one.edge_score_sem.sel(through="keys").isel(at)),
                    "difference": float(one.edge_effect.sel(through="keys").isel(at)),
                    "composition": float(one.k_composition.isel(at)),
                    "part": float(one.key_score.isel(at)),
                }
            )
    return pd.DataFrame(rows)
