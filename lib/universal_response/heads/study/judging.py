"""Whether the heads found are the circuit, and what can be read off the residual stream."""

import numpy as np
import torch
import xarray as xr

from universal_response.activations.neurons import (
    first_order_effects,
    neuron_activations,
    neurons_replaced,
)
from universal_response.activations.outputs import outputs
from universal_response.activations.probes import probe
from universal_response.heads.attribution import attribution_patching
from universal_response.heads.circuit import (
    Judge,
    faithfulness,
    greedy_removals,
    minimality,
    removal,
)
from universal_response.heads.replacing import Head
from universal_response.heads.study.material import Material
from universal_response.heads.subspaces import overlap, position_and_token_spaces
from universal_response.measurement import numbers

CIRCUIT_SIZE = 16
REMOVALS = 10
NEURONS = (0, 1, 4, 16, 64, 256, 1024)
PROBED_TOKENS = 16
DIRECTIONS = 8


def circuit(material: Material) -> xr.Dataset:
    """Faithfulness by size, beside random circuits; completeness and minimality of a small one.

    Heads are ranked by the first-order effect of replacing them, on other sequences.
    """
    generator = np.random.default_rng(material.settings.seed)
    chosen = outputs(material.chosen_on, material.model)
    on_others = material.logit_difference(material.chosen_on)
    effects = attribution_patching(chosen, material.model, material.means, on_others).mean(-1)
    ranked = _ranked(effects)
    of = material.mapped
    judge = Judge(of, material.model, material.means, material.logit_difference(of.tokens))
    sizes = [n for n in (0, 1, 2, 4, 8, 16, 32, 64, 100, 140, 200) if n < len(ranked)]
    sizes.append(len(ranked))
    curves = [faithfulness(judge, ranked, sizes)]
    for _ in range(2):
        shuffled = [ranked[k] for k in generator.permutation(len(ranked))]
        curves.append(faithfulness(judge, shuffled, sizes))
    small = ranked[:CIRCUIT_SIZE]
    random = [ranked[k] for k in generator.permutation(len(ranked))[:CIRCUIT_SIZE]]
    taken = [_subset(small, generator) for _ in range(REMOVALS)]
    found = {
        "random": [removal(judge, small, each) for each in taken],
        "greedy": greedy_removals(judge, small, 4),
        "random circuit": [
            removal(judge, random, _subset(random, generator)) for _ in range(REMOVALS)
        ],
    }
    needed = minimality(judge, small, taken[:3])
    removals = [
        (kind, float(each.circuit.mean()), float(each.model.mean()), len(each.heads))
        for kind, every in found.items()
        for each in every
    ]
    kinds, of_circuit, of_model, n_out = (list(each) for each in zip(*removals, strict=True))
    dims = ("ranking", "circuit_size", "mapped_sequence")
    return xr.Dataset(
        {
            "circuit_logit_difference": (dims, numbers(torch.stack(curves))),
            "removal_kind": ("removal", kinds),
            "removal_circuit": ("removal", of_circuit),
            "removal_model": ("removal", of_model),
            "removal_size": ("removal", n_out),
            "minimality": ("circuit_head", [needed[head] for head in small]),
        },
        {
            "ranking": ["by effect", "random 0", "random 1"],
            "circuit_size": sizes,
            "circuit_head": [f"{layer}.{head}" for layer, head in small],
        },
    )


def _ranked(effects: torch.Tensor) -> list[Head]:
    """Heads by the size of their effect."""
    order = effects.abs().flatten().argsort(descending=True).tolist()
    return [divmod(k, effects.shape[1]) for k in order]


def _subset(heads: list[Head], generator: np.random.Generator) -> list[Head]:
    """Each head with probability one half."""
    return [head for head in heads if generator.random() < 0.5]


def probes(material: Material) -> xr.Dataset:
    """What of the previous, the own and the next token can be read at every position l.

    Sequences of permutations of a few tokens, repeated; states of the second block. A probe is
    tested on sequences of its own, and beside it stands one that was fitted to shuffled labels.
    """
    mine = material.settings
    generator = np.random.default_rng(mine.seed)
    ids = generator.choice(material.model.cfg.d_vocab, PROBED_TOKENS, replace=False)
    n = 2 * mine.evaluated_on
    order = np.stack([generator.permutation(PROBED_TOKENS) for _ in range(n)])
    tokens = torch.from_numpy(ids[np.concatenate([order, order], 1)])
    states = outputs(tokens, material.model).states
    query = slice(PROBED_TOKENS + 1, 2 * PROBED_TOKENS - 1)
    held_out = np.repeat(np.arange(n) % 4 == 3, PROBED_TOKENS - 2)
    labels = {
        name: order[:, 1 + shift : PROBED_TOKENS - 1 + shift].ravel()
        for name, shift in (("previous", -1), ("own", 0), ("next", 1))
    }
    shape = (len(labels), len(states))
    accuracy, shuffled = np.zeros(shape), np.zeros(shape)
    for position, state in enumerate(states):
        rows = state[:, query].flatten(0, 1).float().cpu().numpy()
        for k, of_tokens in enumerate(labels.values()):
            found = probe(rows, of_tokens, held_out, mine.seed)
            accuracy[k, position], shuffled[k, position] = found.accuracy, found.shuffled
    dims = ("probed", "position")
    return xr.Dataset(
        {"probe_accuracy": (dims, accuracy), "probe_shuffled": (dims, shuffled)},
        {"probed": list(labels)},
    )


def spaces(material: Material) -> xr.Dataset:
    """How the spaces in which states vary with place and with token lie to each other."""
    of = material.evaluated(material.settings.evaluated_on)
    width = of.normed.shape[-1]
    n = min(DIRECTIONS, of.tokens.shape[1] - 1)
    found = [overlap(*position_and_token_spaces(state, n)) for state in of.states]
    return xr.Dataset(
        {"place_token_overlap": ("position", found), "random_overlap": ((), n / width)}
    )


def neurons(material: Material) -> xr.Dataset:
    """Neurons of the MLP that matters most, replaced by their means: those of largest effect first.

    Beside them as many random ones.
    """
    of = material.mapped
    metric = material.logit_difference(of.tokens)
    means = [
        each.mean(0, keepdim=True)
        for each in neuron_activations(outputs(material.means_of, material.model), material.model)
    ]
    here = neuron_activations(of, material.model)
    effects = [
        first_order_effects(of, material.model, layer, here[layer], by, metric)
        for layer, by in enumerate(means)
    ]
    layer = int(torch.stack([each.abs().sum() for each in effects]).argmax())
    ranked = effects[layer].abs().argsort(descending=True)
    generator = torch.Generator().manual_seed(material.settings.seed)
    random = torch.randperm(len(ranked), generator=generator)
    sizes = [n for n in NEURONS if n < len(ranked)] + [len(ranked)]
    found = [
        [
            neurons_replaced(of, material.model, layer, order[:n], means[layer], metric)
            .double()
            .cpu()
            .numpy()
            for n in sizes
        ]
        for order in (ranked, random)
    ]
    dims = ("neuron_ranking", "neuron_count", "mapped_sequence")
    return xr.Dataset(
        {"neuron_logit_difference": (dims, np.array(found)), "neuron_layer": ((), layer)},
        {"neuron_ranking": ["by effect", "random"], "neuron_count": sizes},
    )
