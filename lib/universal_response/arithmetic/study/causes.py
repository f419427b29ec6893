"""Which nodes cause the answers, how few suffice, and what each writes."""

import numpy as np
import torch
import xarray as xr

from universal_response.arithmetic.effects import each_patched
from universal_response.arithmetic.faithfulness import Judge, smallest
from universal_response.arithmetic.lens import along, lens, written
from universal_response.arithmetic.nodes import Node
from universal_response.arithmetic.study.material import OPERATIONS, Material, mean_and_sem
from universal_response.measurement import numbers

SIZES = (0, 1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 40, 48, 64)
# Of a component: heads of a layer, then its MLP.
MAP = ("layer", "component", "place")


def indirect_effects(material: Material) -> xr.Dataset:
    """Indirect effect of every node on every digit of the result, of sums and differences.

    By the formula as mean and median over pairs, and of logarithms with its standard error.
    """
    of, by = material.run("evaluated_on"), material.run("donors")
    found = each_patched(material.nodes, of, by, material.model, material.unembedding)
    dims = ("operation", "answer", *MAP)
    every = _by_operation(material, numbers(found.indirect))
    formula = xr.DataArray(every, dims=(*dims, "problem"))
    logit = _by_operation(material, numbers(found.logit))
    return xr.Dataset(
        {
            "indirect_effect": formula.mean("problem"),
            "indirect_effect_median": formula.median("problem"),
            **mean_and_sem("logit_effect", (*dims, "problem"), logit),
        },
        _names(material),
    )


def _by_operation(material: Material, values: np.ndarray) -> np.ndarray:
    """(node, problem, answer) -> (operation, answer, layer, component, place, problem)."""
    minus = material.is_minus("evaluated_on")
    cfg, n_places = material.model.cfg, len(material.places) - 1
    split = np.stack([values[:, minus == each] for each in (False, True)])
    shaped = split.reshape(2, n_places, cfg.n_layers, cfg.n_heads + 1, *split.shape[2:])
    return shaped.transpose(0, 5, 2, 3, 1, 4)


def _names(material: Material) -> dict[str, list[str]]:
    heads = [f"head {head}" for head in range(material.model.cfg.n_heads)]
    return {
        "operation": list(OPERATIONS),
        "component": [*heads, "mlp"],
        "place": material.places[:-1],
    }


def circuit(material: Material) -> xr.Dataset:
    """How well nodes alone give a digit, those of largest effect first, beside random ones.

    The circuit of a digit is the smallest that suffices on the problems on which nodes are chosen.
    Random nodes are drawn from the places that can matter to the digit.
    """
    generator = np.random.default_rng([material.settings.seed, 2])
    sizes = [n for n in SIZES if n < len(material.nodes)] + [len(material.nodes)]
    judge, chosen = material.judge("evaluated_on"), material.judge("chosen_on")
    found, suffices, rank = [], [], []
    for answer in range(material.trained.digits + 1):
        ranked = material.ranked(answer)
        orders = [ranked]
        for _ in range(material.settings.draws):
            orders.append([ranked[k] for k in generator.permutation(len(ranked))])
        found.append([[_judged(judge, order[:n], answer) for n in sizes] for order in orders])
        part = material.settings.faithful
        suffices.append(smallest(chosen, ranked, sizes, answer, part))
        rank.append(_ranks(material, ranked))
    dims = ("answer", "ranking", "circuit_size")
    names = ("circuit_accuracy", "circuit_logit_difference", "circuit_logit_ratio")
    measures = dict(zip(names, np.moveaxis(np.array(found), -1, 0), strict=True))
    return xr.Dataset(
        {
            **{name: (dims, each) for name, each in measures.items()},
            "node_rank": (("answer", *MAP), np.stack(rank)),
            "circuit_nodes": ("answer", suffices),
        },
        {
            "ranking": ["by effect", *(f"random {k}" for k in range(material.settings.draws))],
            "circuit_size": sizes,
        },
    )


def _judged(judge: Judge, nodes: list[Node], answer: int) -> tuple[float, ...]:
    """Share that is right, logit difference, and logit over the largest, of a digit."""
    said = judge.answers(nodes)
    measures = (said.is_right.double(), said.logit_difference, said.ratio)
    return tuple(float(each[:, answer].mean()) for each in measures)


def _ranks(material: Material, ranked: list[Node]) -> np.ndarray:
    """Rank of every node, (layer, component, place); nan where it cannot matter."""
    place = {node: float(k) for k, node in enumerate(ranked)}
    flat = np.array([place.get(node, np.nan) for node in material.nodes])
    cfg = material.model.cfg
    return flat.reshape(-1, cfg.n_layers, cfg.n_heads + 1).transpose(1, 2, 0)


def chosen_circuit(material: Material, answer: int) -> list[Node]:
    """The nodes of the circuit of a digit."""
    return material.ranked(answer)[: int(material.done["circuit"].circuit_nodes[answer])]


def direct_effects(material: Material) -> xr.Dataset:
    """What every part writes, and the logit lens, at the places that answer.

    Along the right digit, the digits of both operands at its place and another digit, less the mean
    of all; over problems where they are different.
    """
    of = material.run("evaluated_on")
    parts = written(of, material.model, material.unembedding)
    stacked = torch.cat([parts.embedding[None], parts.heads.flatten(0, 1), parts.mlps])
    names = ["embedding"]
    names += [f"{layer}.{head}" for layer in range(len(of.z)) for head in range(of.z[0].shape[2])]
    names += [f"mlp {layer}" for layer in range(len(of.mlps))]
    found: dict[str, xr.DataArray] = {}
    for name, logits, dim in (
        ("written", stacked, "part"),
        ("lens", lens(of, material.unembedding), "position"),
    ):
        values = along(logits, of.tokens)
        array = np.stack([numbers(each) for each in values.values()])
        found |= mean_and_sem(name, ("followed", dim, "problem", "answer"), array)
    return xr.Dataset(found, {"followed": list(values), "part": names})
