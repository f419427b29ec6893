"""What can be read of the states, and what neurons hold."""

import numpy as np
import torch
import xarray as xr

from universal_response.activations import first_order_effects, neuron_activations
from universal_response.arithmetic.answers import logit_difference
from universal_response.arithmetic.neurons import explained, keys, only, promoted
from universal_response.arithmetic.probing import labels, probed
from universal_response.arithmetic.problems import answer_places
from universal_response.arithmetic.study.material import OPERATIONS, Material
from universal_response.measurement import numbers

COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
SHOWN = 6


def probes(material: Material) -> xr.Dataset:
    """Held-out accuracy of linear probes by l and place, beside probes on shuffled labels."""
    problems = material.problems("probed_on")
    held_out = np.arange(len(problems)) % 4 == 3
    found = probed(material.run("probed_on"), problems, held_out, material.settings.seed)
    dims = ("label", "position", "place_read")
    return xr.Dataset(
        {"probe_accuracy": (dims, found[..., 0]), "probe_shuffled": (dims, found[..., 1])},
        {"label": list(labels(problems)), "place_read": material.places},
    )


def neurons(material: Material) -> xr.Dataset:
    """How few neurons of a layer do, ranked on sums or on differences, beside random ones.

    Of those of largest effect in the last layer: mean activation at `=` by the units of both
    operands, and what a unit of it adds to the logits of the digits.
    """
    cfg, units = material.model.cfg, answer_places(len(material.places)).start
    generator = torch.Generator().manual_seed(material.settings.seed)
    orders, right = [], []
    for layer in range(cfg.n_layers):
        mine = [_ranked(material, layer, minus) for minus in (False, True)]
        random = torch.randperm(len(mine[0]), generator=generator)
        orders.append(mine)
        right.append([_curve(material, layer, order) for order in (*mine, random)])
    n = len(orders[0][0])
    last = cfg.n_layers - 1
    activation = neuron_activations(material.run("probed_on"), material.model)[last][:, units]
    problems = material.problems("probed_on")
    named, active = labels(problems), numbers(activation)
    shown = [order[:SHOWN].tolist() for order in orders[last]]
    groups = {"first": named["a0"], "second": named["b0"], "result": named["r0"]}
    of = [problems.minus == minus for minus in (False, True)]
    return xr.Dataset(
        {
            "neuron_accuracy": (("layer", "ranked_on", "operation", "kept"), right),
            "neuron_order": (
                ("layer", "operation", "rank"),
                np.stack([[numbers(order) for order in each] for each in orders]).astype(int),
            ),
            "neuron_key": (
                ("operation", "shown", "first", "second"),
                [
                    keys(active[rows][:, mine], named["a0"][rows], named["b0"][rows])
                    for rows, mine in zip(of, shown, strict=True)
                ],
            ),
            "neuron_value": (
                ("operation", "shown", "digit"),
                [
                    numbers(promoted(material.model, last, mine, material.unembedding))
                    for mine in shown
                ],
            ),
            "neuron_explained": (
                ("operation", "explained_by", "neuron"),
                [
                    [explained(active[rows], group[rows]) for group in groups.values()]
                    for rows in of
                ],
            ),
        },
        {
            "ranked_on": [*OPERATIONS, "random"],
            "operation": list(OPERATIONS),
            "kept": [*(k for k in COUNTS if k < n), n],
            "explained_by": list(groups),
        },
    )


def _ranked(material: Material, layer: int, minus: bool) -> torch.Tensor:
    """Neurons by the size of their first-order effect where digits are predicted."""
    of = material.run("chosen_on")
    rows = torch.from_numpy(material.is_minus("chosen_on") == minus)
    value = neuron_activations(of, material.model)[layer]
    by = value.clone()
    at = answer_places(by.shape[1])
    by[rows, at] = material.neuron_means[layer][:, at].to(by)
    metric = logit_difference(of.tokens, material.unembedding)
    effect = first_order_effects(of, material.model, layer, value, by, metric)
    return effect.abs().argsort(descending=True).cpu()


def _curve(material: Material, layer: int, order: torch.Tensor) -> list[list[float]]:
    """Share of sums and of differences that are right, by how many neurons are kept."""
    minus = torch.from_numpy(material.is_minus("evaluated_on"))
    kept = [
        only(
            order[:n],
            layer,
            material.run("evaluated_on"),
            material.neuron_means[layer],
            material.model,
            material.unembedding,
        )
        .is_right.all(1)
        .cpu()
        for n in [*(k for k in COUNTS if k < len(order)), len(order)]
    ]
    return [
        [float(right[minus == each].double().mean()) for right in kept] for each in (False, True)
    ]
