"""Wiring of the layers where it is known, and against one run in numpy."""

import hand_set
import numpy as np
import one_run
import plain_training as plain
import pytest
import torch
from messages import one_line
from universal_response import training
from universal_response.training import answers, composition, progress, wiring

NAMES = composition.INPUTS
FEEDS = {"key": hand_set.BEFORE, "value": hand_set.COPIER}


def sequences(n=5, runs=2):
    split = training.Task().split("training")
    return training.stacked(
        [split.drawn(n, training.generator_of(run, "wiring")) for run in range(runs)]
    )


def only_entry(row, column):
    found = np.zeros((8, 8))
    found[row, column] = 1
    return found


@pytest.fixture(scope="module")
def by_hand():
    return hand_set.model(), hand_set.sequences()


def test_the_model_set_by_hand_makes_induction(by_hand):
    done = training.forward(*by_hand)
    assert float(progress.induction_strength(done)[0, hand_set.INDUCTION]) > 0.7
    assert float(progress.accuracy(done)) > 0.8
    assert float(progress.previous_token(done)[0, hand_set.BEFORE]) > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_weights_compose_where_they_were_wired(by_hand, name):
    found = training.weight_composition(by_hand[0], name)[0].numpy()
    expected = only_entry(FEEDS[name], hand_set.INDUCTION) if name in FEEDS else np.zeros((8, 8))
    np.testing.assert_array_equal(found > 1e-12, expected)
    assert found.max() > 0.2 or name == "query"


@pytest.mark.parametrize("measure", [training.lost_without, training.gained_with])
@pytest.mark.parametrize("name", NAMES)
def test_heads_depend_on_what_they_are_wired_to(by_hand, name, measure):
    found = measure(*by_hand, name)[0].numpy()
    expected = only_entry(FEEDS[name], hand_set.INDUCTION) if name in FEEDS else np.zeros((8, 8))
    np.testing.assert_array_equal(found > 1e-9, expected)
    np.testing.assert_array_equal(abs(found) > 1e-9, expected)
    assert found.max() > 0.6 or name == "query"


def test_a_norm_that_follows_lets_heads_depend_on_those_they_do_not_read(by_hand):
    """Why it is frozen: without what head 6 adds, what head 2 adds is louder."""
    found = training.lost_without(*by_hand, "key", frozen=False)[0]
    assert found[hand_set.BEFORE, hand_set.INDUCTION] > 0.6
    assert found[hand_set.COPIER, hand_set.INDUCTION] < -0.1


def test_one_pair_of_heads_answers_for_all(by_hand):
    found = training.paired_accuracy(*by_hand, "value")[0]
    pair = (hand_set.COPIER, hand_set.INDUCTION)
    assert found[pair] > 0.8
    found[pair] = 0
    assert found.max() < 0.6


def plain_input(run, name, x1, lacks, frozen):
    """Queries, keys or values of layer 2 read without a part; the rest reads x1."""
    inputs = dict.fromkeys(NAMES, x1)
    inputs[name] = x1 - lacks
    normed = {each: run.normed(2, x) for each, x in inputs.items()}
    if frozen:
        centred = x1 - x1.mean(-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + run.epsilon)
        part = (lacks - lacks.mean(-1, keepdims=True)) * scale * run.p["gain2"]
        normed[name] = run.normed(2, x1) - part
    return normed


def plain_passes(run, name, lacks, frozen):
    """Patterns of layer 2 and what each of its heads adds at the query."""
    x0 = run.x0
    _, _, parts = run.layer(1, x0)
    x1 = x0 + sum(parts)
    missing = sum((parts[head] for head in lacks), np.zeros_like(x0))
    normed = plain_input(run, name, x1, missing, frozen)
    patterns, out = [], []
    for head in range(8):
        q, k, v = (
            normed[each] @ run.weights(2, letter, head)
            for each, letter in zip(NAMES, "qkv", strict=True)
        )
        patterns.append(one_run.attention(q, k))
        out.append((patterns[-1] @ v)[:, -1] @ run.weights(2, "o", head))
    return patterns, out, x1[:, -1]


def plain_measure(run, name, lacks, frozen):
    patterns, out, _ = plain_passes(run, name, lacks, frozen)
    if name != "value":
        return np.array([run.strength(each) for each in patterns])
    _, whole, x1 = plain_passes(run, name, [], True)
    last = x1 + sum(whole)
    scale = 1 / np.sqrt(last.var(-1, keepdims=True) + run.epsilon)
    rows, found = np.arange(len(last)), []
    for each in out:
        part = (each - each.mean(-1, keepdims=True)) * scale * run.p["gain"]
        logits = part @ run.p["unembed"]
        found.append((logits[rows, run.target] - logits[rows, run.other]).mean())
    return np.array(found)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_wiring_is_that_of_plain_loops(name, frozen):
    model, read = plain.random_model(), sequences()
    lost = training.lost_without(model, read, name, frozen)
    gained = training.gained_with(model, read, name, frozen)
    assert lost.shape == gained.shape == (2, 8, 8)
    for place, run in enumerate(one_run.runs_of(model, read)):
        whole = plain_measure(run, name, [], frozen)
        nothing = plain_measure(run, name, range(8), frozen)
        for head in range(8):
            left = plain_measure(run, name, [head], frozen)
            np.testing.assert_allclose(lost[place, head], whole - left, rtol=0, atol=1e-11)
            alone = plain_measure(run, name, set(range(8)) - {head}, frozen)
            np.testing.assert_allclose(gained[place, head], alone - nothing, rtol=0, atol=1e-11)


def test_pairs_are_those_of_plain_loops():
    model, read = plain.random_model([4]), sequences(20, 1)
    # So that answers differ from pair to pair.
    model.parameters["w_o2"] *= 10
    model.parameters["w_o1"] *= 3
    found = training.paired_accuracy(model, read, "key")[0]
    (run,) = one_run.runs_of(model, read)
    for head in range(8):
        _, out, x1 = plain_passes(run, "key", set(range(8)) - {head}, True)
        expected = [run.scores((x1 + each)[:, None])[0] for each in out]
        np.testing.assert_allclose(found[head], expected, atol=1e-12)
        assert len(set(expected)) > 3
    assert len(found.unique(dim=0)) > 4


def test_paths_through_values_add_up_to_the_answer():
    """Exactly: each is linear where patterns and norms are as ever."""
    model, read = plain.random_model(), sequences()
    base = training.forward(model, read)
    lost = training.lost_without(model, read, "value")
    torch.testing.assert_close(lost, training.gained_with(model, read, "value"))
    tokens = training.forward(model, read, wiring.without("value", list(range(8))))
    whole = answers.answered(base, base)
    torch.testing.assert_close(lost.sum(1) + answers.answered(tokens, base), whole)
    # What heads add, and what goes to the output past them, is the difference of logits.
    done = training.forward(model, read, [training.Clamp("x2", lambda x, done: done["x1"])])
    normed = answers.through_norm(
        done["x1"][:, :, -1:], base["x2"][:, :, -1:], model.parameters["gain"], model.norm_epsilon
    )
    p = model.parameters
    logits = normed[:, :, 0] @ p["unembed"] + (
        (p["shift"][:, None] @ p["unembed"]) + p["unembed_bias"][:, None]
    )
    right = logits.gather(-1, read.target[..., None])[..., 0]
    wrong = logits.gather(-1, read.labels.gather(-1, 1 - read.answer[..., None]))[..., 0]
    past = (right - wrong).mean(1)
    torch.testing.assert_close(whole.sum(1) + past, answers.logit_difference(base))


def plain_composition(p, name, head1, head2):
    """Of one run: matrices (64, 64) as they stand in the residual stream."""

    def reads(layer, letter, head):
        centre = np.eye(64) - 1 / 64
        own = slice(8 * head, 8 * head + 8)
        return centre @ np.diag(p[f"gain{layer}"]) @ p[f"w_{letter}{layer}"][:, own]

    def writes(layer, head):
        return p[f"w_o{layer}"][8 * head : 8 * head + 8]

    def to(token):
        return np.stack([one_run.turned(np.tile(row, (1, 5, 1)))[0, token] for row in np.eye(8)])

    written = reads(1, "v", head1) @ writes(1, head1)
    found = []
    for token in (1, 3):
        query, key = reads(2, "q", head2) @ to(4), reads(2, "k", head2) @ to(token)
        reading = {
            "query": query @ key.T,
            "key": key @ query.T,
            "value": reads(2, "v", head2) @ writes(2, head2),
        }[name]
        size = np.linalg.norm(written) * np.linalg.norm(reading)
        found.append(np.linalg.norm(written @ reading) / size)
    return np.mean(found)


@pytest.mark.parametrize("name", NAMES)
def test_composition_is_that_of_whole_matrices(name):
    model = plain.random_model()
    found = training.weight_composition(model, name)
    assert found.shape == (2, 8, 8)
    for run in range(2):
        p = {each: value[run].numpy() for each, value in model.parameters.items()}
        for head1, head2 in [(0, 0), (2, 5), (7, 1)]:
            expected = plain_composition(p, name, head1, head2)
            assert float(found[run, head1, head2]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_composition_of_random_weights_is_the_baseline(name):
    found = training.weight_composition(training.initial(range(6)), name)
    # 384 numbers that scatter by 5 %.
    assert float((found**2).mean() ** 0.5) == pytest.approx(training.RANDOM_COMPOSITION, rel=0.01)
    assert training.RANDOM_COMPOSITION == 1 / 8


def test_a_head_without_weights_composes_with_none():
    model = training.initial([0])
    model.parameters["w_o1"][:, :8] = 0
    found = training.weight_composition(model, "key")[0]
    assert (found[0] == 0).all()
    assert (found[1:] > 0).all()


def test_wrong_inputs_are_refused():
    model, read = plain.random_model(), sequences(1)
    for measure in (training.lost_without, training.gained_with, training.paired_accuracy):
        with pytest.raises(ValueError, match=one_line("input=mlp: layer 2 has none; choose one")):
            measure(model, read, "mlp")
    with pytest.raises(ValueError, match=one_line("input=mlp: layer 2 has none; choose one")):
        training.weight_composition(model, "mlp")
