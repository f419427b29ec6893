"""The response by heads: what of it each head carries, and what is left of it without some."""

from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from universal_response.heads.replacing import Head, by_layer, edges, replaced
from universal_response.heads.responses import EditedResponse, edited_response
from universal_response.heads.split import PARTS, carried, split_changes, sum_error
from universal_response.heads.study.causes import head_sets
from universal_response.heads.study.material import Material
from universal_response.heads.study.wiring import THROUGH, receivers
from universal_response.heads.summaries import CLASSES
from universal_response.propagation import Edit, FreezeHeads, positions

# Layers of induction heads whose edges are cut.
CUT = 2

# Of |D - sum of its parts| / |D| in float32.
SUMS_TO = 1e-4


def split(material: Material) -> xr.Dataset:
    """What each head carries of C_delta, in the limit and at finite strength.

    `carried` sums over heads and MLPs to C_delta; shares are of single pairs, then averaged.

    Raises:
        ValueError: the parts of the change do not sum to it: the model's blocks add otherwise.
    """
    mine = material.settings
    kept: dict[str, list[xr.Dataset]] = {}
    for strength, epsilon in strengths(material).items():
        for first in range(0, mine.evaluated_on, 2):
            chosen = slice(first, first + 2)
            changes = split_changes(
                material.evaluated_on[chosen],
                material.model,
                material.sources[chosen],
                mine.distances,
                epsilon,
            )
            if (off := sum_error(changes)) > SUMS_TO:
                raise ValueError(
                    f"model: heads and MLPs sum to the change but for {off:.1e} of it; its blocks "
                    "add to the residual stream otherwise than is known here"
                )
            heads, mlps, whole = carried(changes)
            about = (changes.target - changes.source, changes.sequence)
            kept.setdefault(strength, []).append(_by_distance(material, heads, mlps, whole, *about))
    by_strength = [xr.concat(each, "evaluated_sequence") for each in kept.values()]
    every = xr.concat(by_strength, xr.Variable("strength", list(kept)))
    return _reduced(material, every)


def strengths(material: Material) -> dict[str, float | None]:
    """By name: the limit, per unit of strength, and a finite one."""
    return {"limit": None, "finite": material.settings.epsilon}


def _by_distance(
    material: Material, heads: Tensor, mlps: Tensor, whole: Tensor, apart: Tensor, sequence: Tensor
) -> xr.Dataset:
    """Means over the pairs of each sequence at each distance: of what is carried, and of shares."""
    share = torch.where(whole > 0, 1 / whole, 0)
    arrays = {
        "heads": heads,
        "head_shares": heads * share[..., None, None, None],
        "mlps": mlps,
        "mlp_shares": mlps * share[..., None],
        "whole": whole,
    }
    rows = []
    for one in sequence.unique():
        at = [(sequence == one) & (apart == distance) for distance in material.settings.distances]
        rows.append({k: torch.stack([v[each].mean(0) for each in at]) for k, v in arrays.items()})
    dims = {
        "heads": ("position", "layer", "head", "part"),
        "mlps": ("position", "layer"),
        "whole": ("position",),
    }
    dims |= {"head_shares": dims["heads"], "mlp_shares": dims["mlps"]}
    return xr.Dataset(
        {
            name: (
                ("evaluated_sequence", "distance", *dims[name]),
                np.stack([row[name].cpu().numpy() for row in rows]).astype(np.float32),
            )
            for name in arrays
        }
    )


def _reduced(material: Material, every: xr.Dataset) -> xr.Dataset:
    """What is kept: maps over heads, and by sequence only sums over classes of heads."""
    mine = material.settings
    every = every.assign_coords(distance=list(mine.distances), part=list(PARTS))
    main = every.sel(distance=mine.compared)
    last = every.isel(position=-1)
    mean = "evaluated_sequence"
    found = xr.Dataset(
        {
            # By l at three distances, by distance at the end, and by part where it is added.
            "carried": main.heads.mean(mean).sum("part").rename(distance="compared"),
            "carried_mlps": main.mlps.mean(mean).rename(distance="compared"),
            "carried_last": last.heads.mean(mean),
            "carried_last_mlps": last.mlps.mean(mean),
            "share": main.head_shares.mean(mean).sum("part").rename(distance="compared"),
            "share_mlps": main.mlp_shares.mean(mean).rename(distance="compared"),
            "response": every.whole.mean(mean),
        }
    )
    added = _where_added(material, main.head_shares.mean(mean))
    found["share_by_part"] = added.rename(distance="compared")
    for name in CLASSES:
        heads = material.classes[name]
        of_class = [main.head_shares.isel(layer=layer, head=head) for layer, head in heads]
        total = sum(of_class) if of_class else main.head_shares.isel(layer=0, head=0) * 0
        found[f"share_{name}"] = total.rename(distance="compared")
    found["share_all_mlps"] = main.mlp_shares.sum("layer").rename(distance="compared")
    return found.astype(np.float32)


def _where_added(material: Material, shares: xr.DataArray) -> xr.DataArray:
    """Of every layer the shares at the position behind its attention."""
    at = positions(material.model)
    behind = [
        next(p.index for p in at if p.layer == layer and p.sublayer != "input")
        for layer in range(shares.sizes["layer"])
    ]
    return xr.concat(
        [shares.isel(position=place, layer=layer) for layer, place in enumerate(behind)], "layer"
    )


def interventions(material: Material) -> xr.Dataset:
    """Response functions with heads ablated, patterns or values frozen, and edges cut.

    Of every condition C_delta by sequence: at the last position for every distance, and along l for
    those that are compared.
    Random heads are drawn from the layers of induction heads.
    """
    mine = material.settings
    asked, found = conditions(material), []
    for name, edits in asked.items():
        # Many of one kind: fewer sequences each.
        fewer = name.startswith(("random", "induction, layer")) or " to " in name
        n = max(2, mine.perturbed_on // 2) if fewer else mine.perturbed_on
        response = edited_response(
            material.evaluated_on[:n],
            material.model,
            material.sources[:n],
            mine.distances,
            list(strengths(material).values()),
            edits,
        )
        found.append(_as_dataset(response, material))
    joined = xr.concat(found, xr.Variable("condition", list(asked)))
    return joined.assign_coords(strength=list(strengths(material)))


def _as_dataset(response: EditedResponse, material: Material) -> xr.Dataset:
    """Numbers of all sequences, nan where fewer were used."""
    mine = material.settings
    pad = {"perturbed_sequence": (0, mine.perturbed_on - response.mean.shape[2])}

    def named(values: Tensor) -> xr.DataArray:
        dims = ("strength", "position", "perturbed_sequence", "distance")
        every = xr.DataArray(values.cpu().numpy(), {"distance": list(mine.distances)}, dims)
        return every.pad(pad).astype(np.float32)

    plain, logs = named(response.mean), named(response.log_mean)
    return xr.Dataset(
        {
            "edited_response": plain.isel(position=-1),
            "edited_log_response": logs.isel(position=-1),
            "edited_along": plain.sel(distance=mine.compared).rename(distance="compared"),
        }
    )


def conditions(material: Material) -> dict[str, list[Edit]]:
    """What is done to the model, by name."""
    induction = material.classes["induction"]
    every = [(layer, h) for layer, w in enumerate(material.weights) for h in range(w.n_heads)]
    found: dict[str, list[Edit]] = {"none": []}
    for heads, name in ((every, "all"), (induction, "induction")):
        found[f"{name} pattern frozen"] = frozen(heads, "pattern")
        found[f"{name} values frozen"] = frozen(heads, "values")
    for name, heads in head_sets(material).items():
        if name != "none":
            found[name if name.startswith("random") else f"{name} ablated"] = replaced(
                heads, material.means
            )
    return found | cut_edges(material)


def cut_edges(material: Material) -> dict[str, list[Edit]]:
    """Edges into induction heads, of the layers in which their score depends on one most.

    From the sender that matters most through keys, queries and values; from all previous-token
    heads through keys.
    """
    previous, found = material.classes["previous_token"], {}
    score = material.done["edges"].edge_score.sel(through="keys")
    least = score.min(("layer", "head")).values
    for row in sorted(np.argsort(least)[:CUT].tolist()):
        group = receivers(material)[row]
        of_layer, into = score[row].values, f"of layer {group[0][0]}"
        sender = divmod(int(np.nanargmin(of_layer)), of_layer.shape[1])
        for through in THROUGH:
            name = f"{sender[0]}.{sender[1]} to {through} {into}"
            found[name] = edges(sender, group, through, material.means)
        senders = [head for head in previous if head[0] < group[0][0]]
        cut = [edges(each, group, "keys", material.means) for each in senders]
        found[f"previous_token to keys {into}"] = [edit for each in cut for edit in each]
    return found


def frozen(heads: list[Head], what: Literal["pattern", "values"]) -> list[Edit]:
    """Edits that freeze the pattern or the values of heads."""
    return [FreezeHeads(layer, chosen, what) for layer, chosen in by_layer(heads).items()]
