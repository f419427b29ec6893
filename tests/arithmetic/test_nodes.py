"""Nodes and what their patches do, against one patch at a time through Hugging Face."""

import math

import numpy as np
import plain_adder
import pytest
import torch
from universal_response.arithmetic import Problems
from universal_response.arithmetic.answers import Answers, answers
from universal_response.arithmetic.effects import distance, each_patched, effects
from universal_response.arithmetic.nodes import (
    Node,
    all_nodes,
    mean_over_problems,
    moved,
    replaced,
)
from universal_response.propagation import forward

PROBLEMS = plain_adder.problems(6)
# Three of them have some digit of the result in common with the problem that gets it.
DONORS = Problems(
    np.array([*plain_adder.problems(3, seed=1).first, *PROBLEMS.first[3:]]),
    np.array([*plain_adder.problems(3, seed=1).second, *PROBLEMS.second[[3, 4]], 1]),
    np.array([False, True, False, True, False, True]),
)
TOKENS, GIVEN = (torch.from_numpy(each.tokens()) for each in (PROBLEMS, DONORS))
NODES = all_nodes(plain_adder.LAYERS, plain_adder.HEADS, range(plain_adder.PLACES))


@pytest.fixture(scope="module")
def of():
    return plain_adder.of(PROBLEMS)


@pytest.fixture(scope="module")
def by():
    return plain_adder.of(DONORS)


@pytest.fixture(scope="module")
def found(of, by):
    return each_patched(NODES, of, by, plain_adder.bridge(), plain_adder.unembedding())


def edited(of, edits):
    """Logits of digits."""
    normed = forward(of.tokens, plain_adder.bridge(), edits=edits)
    return answers(normed, of.tokens, plain_adder.unembedding()).logits


def by_the_formulas(tokens, given, nodes):
    """Indirect effect and the same of logarithms, problem by problem."""
    donor = plain_adder.passed(given)
    before = plain_adder.digit_logits(plain_adder.passed(tokens)).softmax(-1)
    indirect, logit = [], []
    for node in nodes:
        run = plain_adder.passed(tokens, plain_adder.putting([node], donor))
        after = plain_adder.digit_logits(run).softmax(-1)
        for problem in range(len(tokens)):
            for answer in range(3):
                right, other = (int(each[problem, 6 + answer]) for each in (tokens, given))
                if right == other:
                    indirect.append(math.nan)
                    logit.append(math.nan)
                    continue
                p, q = (each[problem, answer].tolist() for each in (before, after))
                gained = (q[other] - p[other]) / p[other]
                lost = (p[right] - q[right]) / q[right]
                indirect.append((gained + lost) / 2)
                logit.append(0.5 * math.log(q[other] / p[other] * p[right] / q[right]))
    shape = (len(nodes), len(tokens), 3)
    return (torch.tensor(each, dtype=torch.float64).view(shape) for each in (indirect, logit))


def test_every_part_is_a_node_once():
    nodes = all_nodes(2, 3, [4, 7])
    assert len(nodes) == len(set(nodes)) == 2 * 2 * (3 + 1)
    assert set(nodes) == {
        Node(layer, head, place) for layer in (0, 1) for head in (0, 1, 2, None) for place in (4, 7)
    }


def test_nodes_come_place_by_place_and_layer_by_layer_heads_first():
    """A study gives them this shape."""
    nodes = iter(all_nodes(2, 2, [3, 5]))
    for place in (3, 5):
        for layer in (0, 1):
            for head in (0, 1, None):
                assert next(nodes) == Node(layer, head, place)


def test_effects_of_every_node_are_those_of_a_patch_by_hand(found):
    indirect, logit = by_the_formulas(TOKENS, GIVEN, NODES)
    plain_adder.assert_close(found.indirect, indirect, 1e-10)
    plain_adder.assert_close(found.logit, logit, 1e-10)


def test_digits_that_are_alike_have_no_effect_to_speak_of(found):
    alike = TOKENS[:, 6:] == GIVEN[:, 6:]
    assert 0 < alike.sum() < alike.numel()
    for each in (found.indirect, found.logit):
        assert torch.equal(each.isnan(), alike.expand(len(NODES), -1, -1))


def test_what_comes_after_a_prediction_has_no_effect_on_it(found):
    before = torch.zeros(3, dtype=torch.bool)
    for node, indirect, logit in zip(NODES, found.indirect, found.logit, strict=True):
        for answer, place in enumerate(plain_adder.ANSWERING):
            mine = torch.stack([indirect[:, answer], logit[:, answer]])
            if node.place > place:
                assert (mine.nan_to_num() == 0).all(), node
            elif node.place == place:
                before[answer] |= bool((mine.nan_to_num() != 0).any())
    assert before.all()


def test_half_of_the_change_of_a_logit_difference():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 10, generator=generator, dtype=torch.float64)
    right, donor = torch.tensor([[1, 2, 3]] * 4), torch.tensor([[4, 2, 0]] * 4)
    found = effects(Answers(logits[0], right), Answers(logits[1], right), donor)
    for problem in range(4):
        for answer, (r, other) in enumerate(((1, 4), (2, 2), (3, 0))):
            changes = [
                logits[k, problem, answer, other] - logits[k, problem, answer, r] for k in (0, 1)
            ]
            value = float(found.logit[problem, answer])
            if r == other:
                assert math.isnan(value)
            else:
                assert value == pytest.approx(float(changes[1] - changes[0]) / 2)


def test_nodes_are_replaced_together(of, by):
    """Both heads of a layer at one place, one of them at another, and MLPs."""
    nodes = [Node(0, 0, 2), Node(0, 1, 2), Node(0, 1, 5), Node(1, 0, 6), Node(0, None, 4)]
    nodes += [Node(1, None, 5), Node(1, None, 7)]
    changes = plain_adder.putting(nodes, plain_adder.passed(GIVEN))
    expected = plain_adder.digit_logits(plain_adder.passed(TOKENS, changes))
    plain_adder.assert_close(edited(of, replaced(nodes, by)), expected)
    assert replaced([], by) == []


def test_a_mean_is_that_of_every_place_of_its_own(of, by):
    nodes = NODES[3::5]
    means = plain_adder.mean_of(plain_adder.passed(GIVEN))
    run = plain_adder.passed(TOKENS, plain_adder.putting(nodes, means))
    found = mean_over_problems(by)
    plain_adder.assert_close(edited(of, replaced(nodes, found)), plain_adder.digit_logits(run))
    for layer in range(plain_adder.LAYERS):
        plain_adder.assert_close(found.z[layer].flatten(2), means.z[layer])
        plain_adder.assert_close(found.mlps[layer], means.mlps[layer])


def test_what_is_moved_stands_at_another_place(of):
    found = moved(of, 6, 5)
    for mine, before in ((found.z, of.z), (found.mlps, of.mlps)):
        for one, other in zip(mine, before, strict=True):
            expected = other.clone()
            for problem in range(len(other)):
                expected[problem, 5] = other[problem, 6]
            assert torch.equal(one, expected)
            assert not torch.equal(one, other)


def test_distance_of_answers():
    """The probability that has to be moved."""
    sure, other, even = (torch.full((1, 1, 10), each) for each in (0.05, 0.05, 0.1))
    sure[..., 0] = other[..., 1] = 0.55
    right = torch.zeros(1, 1, dtype=torch.long)
    sure, other, even = (Answers(each.log() + 3, right) for each in (sure, other, even))
    assert float(distance(sure, other)) == pytest.approx(0.5)
    assert float(distance(sure, even)) == pytest.approx(0.45)
    assert float(distance(sure, sure)) == 0


def test_distance_is_that_of_what_is_said(of, by):
    one, other = (answers(run.normed, run.tokens, plain_adder.unembedding()) for run in (of, by))
    p, q = (
        plain_adder.digit_logits(plain_adder.passed(tokens)).softmax(-1)
        for tokens in (TOKENS, GIVEN)
    )
    found = distance(one, other)
    for problem in range(len(TOKENS)):
        for answer in range(3):
            more = sum(
                max(float(p[problem, answer, k] - q[problem, answer, k]), 0) for k in range(10)
            )
            assert float(found[problem, answer]) == pytest.approx(more, abs=1e-12)
    assert ((found >= 0) & (found <= 1)).all()
