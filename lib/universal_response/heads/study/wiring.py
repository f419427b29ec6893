"""How heads are wired: circuits of weights, K-composition of weights and of data, edges cut."""

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from universal_response.activations.outputs import Outputs, outputs
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
from universal_response.heads.replacing import Head
from universal_response.heads.replacing import edges as edges_between
from universal_response.heads.rotary import rotations
from universal_response.heads.scores import induction
from universal_response.heads.study.material import Material, mean_and_sem
from universal_response.heads.subspaces import overlap, read_by, written_by
from universal_response.measurement import numbers
from universal_response.propagation import Edit, Seen, Through, first_layer, forward

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
    """What cutting one edge does, from every earlier head to the keys of each receiver layer.

    To the induction score of the strongest head there, and to the logit difference. Through queries
    and values as controls, for the heads whose edges to keys matter most to the score.
    """
    shape = (len(THROUGH), len(material.weights), material.weights[0].n_heads)
    groups, strongest = receivers(material), _strongest(material)
    rows = [_edges_into(material, *each, shape) for each in zip(groups, strongest, strict=True)]
    found = np.array(rows).reshape(len(rows), 2, *shape, len(material.patched.tokens))
    dims = ("receiver", "through", "layer", "head")
    score, effect = (torch.from_numpy(found[:, k]) for k in range(2))
    return xr.Dataset(
        mean_and_sem("edge_score", dims, score) | mean_and_sem("edge_effect", dims, effect),
        {"through": list(THROUGH), "receiver": named(strongest)},
    )


def _edges_into(
    material: Material, group: list[Head], receiver: Head, shape: tuple[int, ...]
) -> np.ndarray:
    """Changes of score and logit difference, (2, through, layer, head, sequence)."""
    found = np.full((2, *shape, len(material.patched.tokens)), np.nan)
    whole = _score_and_difference(material, receiver, [])
    senders = [(layer, head) for layer in range(receiver[0]) for head in range(shape[2])]

    def cut(sender: Head, place: int) -> None:
        edits = edges_between(sender, group, THROUGH[place], material.means)
        found[(slice(None), place, *sender)] = (
            _score_and_difference(material, receiver, edits) - whole
        )

    for sender in senders:
        cut(sender, 0)
    for sender in sorted(senders, key=lambda each: found[(0, 0, *each)].mean())[:CONTROLLED]:
        for place in range(1, len(THROUGH)):
            cut(sender, place)
    return found


def _score_and_difference(
    material: Material, receiver: Head, edits: list[Edit]
) -> Float[np.ndarray, "2 sequence"]:
    """Induction score of a head and logit difference of an edited run, of every sequence."""
    of, (layer, head) = material.patched, receiver
    scores: list[Tensor] = []

    def look(seen: Seen) -> None:
        if seen.layer == layer:
            scores.append(induction(seen.value, of.tokens)[:, head])

    start = of.start(min(map(first_layer, edits), default=0))
    normed = forward(of.tokens, material.model, edits=edits, observe={"pattern": look}, start=start)
    difference = material.logit_difference(of.tokens)(normed)
    return numbers(torch.stack([scores[0], difference]))
