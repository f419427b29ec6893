"""Neurons of a model that adds, against hooks on what the last matrix of an MLP multiplies."""

import math

import numpy as np
import plain_adder
import pytest
import torch
from universal_response.activations import neuron_activations
from universal_response.arithmetic.neurons import explained, keys, only, promoted

PROBLEMS, OTHERS = plain_adder.problems(5), plain_adder.problems(7, seed=1)
TOKENS, MEANS_OF = (torch.from_numpy(each.tokens()) for each in (PROBLEMS, OTHERS))


@pytest.mark.parametrize("layer", range(plain_adder.LAYERS))
@pytest.mark.parametrize("kept", [[], [3], [0, 7, 23], list(range(plain_adder.NEURONS))], ids=len)
def test_a_few_neurons_alone_are_all_others_at_their_mean(layer, kept):
    other = plain_adder.passed(MEANS_OF).neurons[layer]
    means = sum(other[k] for k in range(len(other))) / len(other)

    def change(active):
        active = active.clone()
        for place in plain_adder.ANSWERING:
            for neuron in range(plain_adder.NEURONS):
                if neuron not in kept:
                    active[:, place, neuron] = means[place, neuron]
        return active

    expected = plain_adder.digit_logits(plain_adder.passed(TOKENS, {("neurons", layer): change}))
    model = plain_adder.bridge()
    given = neuron_activations(plain_adder.of(OTHERS), model)[layer].mean(0, keepdim=True)
    numbers = torch.tensor(kept, dtype=torch.long)
    run = plain_adder.of(PROBLEMS)
    found = only(numbers, layer, run, given, model, plain_adder.unembedding())
    plain_adder.assert_close(found.logits, expected)
    assert found.right.tolist() == plain_adder.results(PROBLEMS)


def test_keys_are_means_of_problems_with_both_digits():
    generator = np.random.default_rng(0)
    activation = generator.standard_normal((60, 4))
    first, second = generator.integers(10, size=(2, 60))
    there = {}
    for k in range(60):
        there.setdefault((int(first[k]), int(second[k])), []).append(activation[k])
    assert max(map(len, there.values())) > 1
    found = keys(activation, first, second)
    assert found.shape == (4, 10, 10)
    for a in range(10):
        for b in range(10):
            mine = there.get((a, b))
            expected = [math.nan] * 4 if mine is None else list(sum(mine) / len(mine))
            assert found[:, a, b].tolist() == pytest.approx(expected, nan_ok=True)


def variance(values):
    mean = sum(values) / len(values)
    return sum((each - mean) ** 2 for each in values) / len(values)


def test_explained_is_what_the_spread_within_groups_leaves_of_the_variance():
    generator = np.random.default_rng(1)
    group = generator.choice([0, 2, 3, 7], size=90)
    values = generator.standard_normal((90, 3)) + np.outer(group, [0.0, 0.3, 1.0])
    found = explained(values, group)
    for neuron in range(3):
        within = 0.0
        for each in set(group.tolist()):
            mine = [values[k, neuron] for k in range(90) if group[k] == each]
            within += len(mine) / 90 * variance(mine)
        whole = variance(values[:, neuron].tolist())
        assert found[neuron] == pytest.approx(1 - within / whole)
    assert 0 < found[0] < 0.2 < found[1] < found[2] < 1


def test_a_function_of_the_group_is_explained_by_it_and_noise_is_not():
    generator = np.random.default_rng(2)
    group = generator.integers(10, size=5000)
    values = np.stack([np.cos(group), generator.standard_normal(5000), np.full(5000, 2.0)], 1)
    found = explained(values, group)
    assert found[0] == pytest.approx(1)
    assert found[1] < 0.01
    assert math.isnan(found[2])


def test_what_a_neuron_promotes_is_what_logits_gain_from_more_of_it():
    """In the last layer, where all that follows is the final norm; its scale is undone."""
    layer, place, step = plain_adder.LAYERS - 1, 6, 0.37
    chosen = [4, 0, 19]
    model = plain_adder.bridge()
    found = promoted(model, layer, chosen, plain_adder.unembedding())
    assert found.shape == (3, 10)
    constant = plain_adder.hf().model.norm.variance_epsilon

    def unscaled(run):
        last = run.states[-1][:, place]
        scale = (last.square().mean(-1, keepdim=True) + constant).sqrt()
        return run.logits[:, place, :10] * scale

    for k, neuron in enumerate(chosen):

        def more(active, neuron=neuron):
            active = active.clone()
            active[:, place, neuron] += step
            return active

        runs = (plain_adder.passed(TOKENS, change) for change in ({("neurons", layer): more}, {}))
        after, before = (unscaled(run) for run in runs)
        gained = (after - before) / step
        gained = gained - gained.mean(-1, keepdim=True)
        for row in gained:
            plain_adder.assert_close(found[k], row, 1e-10)
