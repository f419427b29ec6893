"""How heads are wired: circuits of weights, K-composition of weights and of data, edges cut."""

import numpy as np
import torch
import xarray as xr

from universal_response.heads.circuits import (
    Factors,
    k_composition,
    ov_circuit,
    positive_share,
    qk_circuit,
    random_composition,
    token_overlap,
)
from universal_response.heads.keys import key_split
from universal_response.heads.outputs import Outputs, outputs
from universal_response.heads.replacing import Head, edge_patched
from universal_response.heads.rotary import rotations
from universal_response.heads.study.material import Material
from universal_response.heads.subspaces import overlap, read_by, written_by
from universal_response.propagation import Through

# Senders whose edges are cut through queries and values too.
CONTROLLED = 8
THROUGH: tuple[Through, ...] = ("keys", "queries", "values")


def circuits(material: Material) -> xr.Dataset:
    """OV and QK circuits of every head, and where it reads and writes."""
    weights, between = material.weights, token_overlap(material.model, material.unembedding)
    shape = (len(weights), weights[0].n_heads)
    names = ("copying", "matching", "read_write_overlap", "query_key_overlap")
    found = {name: np.zeros(shape) for name in names}
    t0 = material.settings.t0
    for layer, mine in enumerate(weights):
        (rotation,) = rotations(material.model, layer, torch.tensor([t0 - 1]))
        for head in range(mine.n_heads):
            ov, qk = ov_circuit(mine, head), qk_circuit(mine, head, rotation)
            found["copying"][layer, head] = positive_share(ov, between["copying"])
            found["matching"][layer, head] = positive_share(qk, between["matching"])
            found["read_write_overlap"][layer, head] = overlap(read_by(ov), written_by(ov))
            found["query_key_overlap"][layer, head] = overlap(read_by(qk), written_by(qk))
    by_chance = weights[0].mixed.shape[1] / weights[0].mixed.shape[2]
    maps = {name: (("layer", "head"), each) for name, each in found.items()}
    return xr.Dataset(maps | {"read_write_by_chance": ((), by_chance)})


def receivers(material: Material) -> list[list[Head]]:
    """Induction heads with all heads that share their keys, layer by layer."""
    found = []
    induction = material.classes["induction"]
    for layer in sorted({layer for layer, _ in induction}):
        n_shared = material.weights[layer].n_shared
        groups = {head // n_shared for at, head in induction if at == layer}
        found.append([(layer, g * n_shared + k) for g in sorted(groups) for k in range(n_shared)])
    return [each for each in found if each[0][0] > 0]


def named(heads: list[Head]) -> list[str]:
    """layer.head."""
    return [f"{layer}.{head}" for layer, head in heads]


def composition(material: Material) -> xr.Dataset:
    """K-composition of every earlier head with the strongest induction head of each layer.

    From weights, less that with random numbers in place of the receiver; and from data: what of a
    score at T0 - 1 is made of each component, against the mean over keys.
    """
    receivers = _strongest(material)
    writing = {
        (layer, head): ov_circuit(weights, head)
        for layer, weights in enumerate(material.weights)
        for head in range(weights.n_heads)
        if any(layer < at for at, _ in receivers)
    }
    chance = {sender: float(random_composition(ov)) for sender, ov in writing.items()}
    run = outputs(material.chosen_on[: material.settings.mapped_on], material.model)
    found = [
        xr.merge([_of_weights(material, each, writing, chance), _of_data(material, each, run)])
        for each in receivers
    ]
    along = xr.Variable("receiver", named(receivers))
    return xr.concat(found, along) if found else xr.Dataset(coords={"receiver": along.astype(str)})


def _of_weights(
    material: Material, receiver: Head, writing: dict[Head, Factors], chance: dict[Head, float]
) -> xr.Dataset:
    layer, head = receiver
    distance = torch.tensor([material.settings.t0 - 1])
    (rotation,) = rotations(material.model, layer, distance)
    reading = qk_circuit(material.weights[layer], head, rotation)
    found = _map(material)
    for sender, ov in writing.items():
        if sender[0] < layer:
            found[sender] = float(k_composition(ov, reading)) - chance[sender]
    return xr.Dataset({"k_composition": (("layer", "head"), found)})


def _of_data(material: Material, receiver: Head, run: Outputs) -> xr.Dataset:
    t0 = material.settings.t0
    split = key_split(run, material.model, receiver)
    of_heads, of_mlps = _map(material), np.full(len(material.weights), np.nan)
    rest = {"embedding": 0.0, "bias": 0.0}
    for (kind, layer, head), value in zip(split.names, split.along(t0 - 1, t0), strict=True):
        mean = float(value.mean())
        if kind == "head":
            of_heads[layer, head] = mean
        elif kind == "mlp":
            of_mlps[layer] = mean
        else:
            rest[kind] += mean
    return xr.Dataset(
        {
            "key_score": (("layer", "head"), of_heads),
            "key_score_mlps": ("layer", of_mlps),
            "key_score_embedding": ((), rest["embedding"]),
            "key_score_bias": ((), rest["bias"]),
        }
    )


def _map(material: Material) -> np.ndarray:
    """A number for every head, none known yet."""
    return np.full((len(material.weights), material.weights[0].n_heads), np.nan)


def _strongest(material: Material) -> list[Head]:
    """The strongest induction head of each layer that has receivers."""
    layers = [each[0][0] for each in receivers(material)]
    ranked = material.classes["induction"]
    return [next(head for head in ranked if head[0] == layer) for layer in layers]


def edges(material: Material) -> xr.Dataset:
    """Logit difference with one edge cut: every earlier head to the keys of each receiver layer.

    Through queries and values as controls, for the heads whose edges to keys matter most.
    """
    run, metric = material.patched, material.logit_difference(material.patched.tokens)
    groups = receivers(material)
    shape = (len(groups), len(THROUGH), *(len(material.weights), material.weights[0].n_heads))
    found = np.full((*shape, len(run.tokens)), np.nan)
    for row, group in enumerate(groups):
        senders = [(at, h) for at in range(group[0][0]) for h in range(shape[3])]

        def cut(sender: Head, through: Through, group: list[Head] = group) -> np.ndarray:
            each = edge_patched(run, material.model, sender, group, through, material.means, metric)
            return each.double().cpu().numpy()

        for sender in senders:
            found[(row, 0, *sender)] = cut(sender, "keys")
        ranked = sorted(senders, key=lambda each: found[(row, 0, *each)].mean())
        for sender in ranked[:CONTROLLED]:
            for place, through in enumerate(THROUGH[1:], start=1):
                found[(row, place, *sender)] = cut(sender, through)
    whole = metric(run.normed).double().cpu().numpy()
    change = found - whole
    n = change.shape[-1]
    dims = ("receiver", "through", "layer", "head")
    return xr.Dataset(
        {
            "edge_effect": (dims, change.mean(-1)),
            "edge_effect_sem": (dims, change.std(-1, ddof=min(1, n - 1)) / np.sqrt(n)),
        },
        {"through": list(THROUGH), "receiver": named(_strongest(material))},
    )
