"""Ablations against one run in numpy, where nothing is stacked and nothing clamped."""

import numpy as np
import one_run
import plain_training as plain
import pytest
import torch
from messages import one_line
from universal_response import training
from universal_response.training import answers, previous_heads, progress

LAST = 4


@pytest.fixture(scope="module")
def stacked():
    """Runs that differ in which head is strongest, and whose heads make a difference."""
    model = plain.random_model((0, 1, 2))
    for name in ("w_o2", "w_q2", "w_q1"):
        model.parameters[name] *= 4
    split = training.Task().split("training")
    read = [split.drawn(40, training.generator_of(run, "ablations")) for run in range(3)]
    return model, training.stacked(read)


@pytest.fixture(scope="module")
def alone(stacked):
    """Every run: itself, its layer 1, its patterns, and what heads add at the query."""
    found = []
    for run in one_run.runs_of(*stacked):
        first = run.layer(1, run.x0)
        x1 = run.x0 + sum(first[2])
        found.append((run, x1, first, run.layer(2, x1)))
    return found


def same(score, place, expected):
    """Of one run, (condition, 3): accuracy, loss, difference of logits."""
    found = np.stack([each[place] for each in (score.accuracy, score.loss, score.difference)], -1)
    # Both in float64, sums in another order; differences of logits may nearly cancel.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def strongest_first(run, patterns):
    strengths = [run.strength(each) for each in patterns]
    return sorted(range(8), key=lambda head: -strengths[head])


def test_one_head_kept_or_dropped(stacked, alone):
    kept, dropped = training.keep_one(*stacked), training.drop_one(*stacked)
    assert kept.loss.shape == dropped.loss.shape == (3, 8)
    for place, (run, x1, _, (_, _, out)) in enumerate(alone):
        same(kept, place, [run.scores(x1 + each) for each in out])
        same(dropped, place, [run.scores(x1 + sum(out) - each) for each in out])
    assert len(kept.accuracy.unique()) > 5


def test_heads_added_back_one_by_one(stacked, alone):
    found = training.added_back(*stacked)
    order = training.by_strength(*stacked)
    for place, (run, x1, _, (patterns, _, out)) in enumerate(alone):
        heads = strongest_first(run, patterns)
        assert order[place].tolist() == heads
        sums = np.cumsum([out[head] for head in heads], 0)
        same(found, place, [run.scores(x1 + each) for each in sums])
    assert len({tuple(run) for run in order.tolist()}) == 3


def test_all_heads_are_the_model_and_one_is_the_strongest(stacked):
    found, base = training.added_back(*stacked), training.scored(*stacked)
    kept = training.keep_one(*stacked)
    first = training.by_strength(*stacked)[:, :1]
    for name in ("accuracy", "loss", "difference"):
        assert torch.equal(getattr(found, name)[:, -1], getattr(base, name))
        one = getattr(kept, name).gather(1, first)[:, 0]
        assert torch.equal(getattr(found, name)[:, 0], one)


def test_without_what_layer_1_adds_to_the_output(stacked, alone):
    found = training.without_path(*stacked)
    assert found.loss.shape == (3,)
    for place, (run, _, _, (_, _, out)) in enumerate(alone):
        same(found, place, run.scores(run.x0 + sum(out)))


def test_strength_swept(stacked, alone):
    strengths = [-1.0, -0.4, 0.0, 1.0]
    found = training.swept_strength(*stacked, strengths)
    for place, (run, x1, _, (patterns, values, _)) in enumerate(alone):
        head, expected = strongest_first(run, patterns)[0], []
        for strength in strengths:
            looked = patterns[head].copy()
            rows = np.arange(len(looked))
            looked[:, LAST] = 0
            looked[rows, LAST, 1 + 2 * run.answer] = (1 + strength) / 2
            looked[rows, LAST, 3 - 2 * run.answer] = (1 - strength) / 2
            assert run.strength(looked) == pytest.approx(strength)
            out = looked @ values[head] @ run.weights(2, "o", head)
            expected.append(run.scores(x1 + out))
        same(found, place, expected)


def test_a_strength_of_1_is_a_match(stacked):
    model, read = stacked
    found = training.swept_strength(model, read, [1.0])
    for run, (head, *_) in enumerate(training.by_strength(model, read).tolist()):
        clamps = training.kept(2, [head]) + training.matched(1.0, [head])
        match = training.scored(model.of([run]), read[[run]], clamps)
        torch.testing.assert_close(found.loss[run], match.loss, rtol=1e-12, atol=0)


def plain_ablated(run, x1, first, second, heads, preserved):
    """Heads of layer 1 without which layer 2 reads on, with its patterns or values as before."""
    patterns, values, _ = second
    left = x1 - sum((first[2][head] for head in heads), np.zeros_like(x1))
    if preserved == "pattern":
        values = run.values(2, left)
    else:
        patterns = run.patterns(2, left, left)
    return run.scores(left + sum(run.added(2, patterns, values)))


def test_previous_token_heads_ablated(stacked, alone):
    model, read = stacked
    generator = training.generator_of(0, "others")
    threshold = 0.45
    found = training.previous_heads_ablated(model, read, threshold, generator)
    assert found.score.loss.shape == (3, 2, 3)
    seen = progress.previous_token(training.forward(model, read))
    for place, (run, x1, first, second) in enumerate(alone):
        shown = [(each[:, 1, 0] + each[:, 3, 2]).mean() / 2 for each in first[0]]
        np.testing.assert_allclose(seen[place], shown)
        previous = [head for head in range(8) if shown[head] > threshold]
        others = [head for head in range(8) if head not in previous]
        random = found.heads[place, 2].nonzero()[:, 0].tolist()
        assert len(random) == len(previous)
        assert set(random) <= set(others)
        assert found.heads[place, 0].nonzero()[:, 0].tolist() == previous
        assert found.heads[place, 1].nonzero()[:, 0].tolist() == others
        for row, preserved in enumerate(("pattern", "value")):
            expected = [
                plain_ablated(run, x1, first, second, heads, preserved)
                for heads in (previous, others, random)
            ]
            score = training.Score(
                *(
                    each[:, row]
                    for each in (found.score.accuracy, found.score.loss, found.score.difference)
                )
            )
            same(score, place, expected)
    assert found.heads[:, 0].sum(1).tolist() == [1, 3, 4]


def test_without_previous_token_heads_nothing_is_ablated(stacked):
    base = training.scored(*stacked)
    found = training.previous_heads_ablated(*stacked, 2.0, training.generator_of(0, "others"))
    for which in ("previous", "random"):
        losses = found.score.loss[:, :, previous_heads.ABLATED.index(which)]
        assert torch.equal(losses, base.loss[:, None].expand(3, 2))
    assert found.heads[:, 1].all()


def test_random_others_are_of_a_seed_and_all_where_there_are_fewer():
    heads = torch.zeros(40, 8, dtype=torch.bool)
    heads[:, :3] = True
    first, again, other = (
        previous_heads.random_others(heads, training.generator_of(seed, "others"))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (first.sum(1) == 3).all()
    assert not (first & heads).any()
    assert first.any(0)[3:].all()
    most = previous_heads.random_others(~heads, training.generator_of(0, "others"))
    assert torch.equal(most, heads)


def test_the_difference_of_logits(stacked, alone):
    model, read = stacked
    found = answers.logit_difference(training.forward(model, read))
    for place, (run, x1, _, (_, _, out)) in enumerate(alone):
        assert float(found[place]) == pytest.approx(run.scores(x1 + sum(out))[2])


def test_wrong_strengths_are_refused(stacked):
    with pytest.raises(ValueError, match=one_line("strength=1.5: use -1 to 1")):
        training.swept_strength(*stacked, [0.0, 1.5])
