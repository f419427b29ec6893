"""Measures of progress against plain loops."""

import math

import plain_training as plain
import pytest
import torch
from universal_response import training
from universal_response.training import progress


@pytest.fixture(scope="module")
def done():
    split = training.Task().split("training")
    read = training.stacked(
        [split.drawn(6, training.generator_of(run, "progress")) for run in range(2)]
    )
    return training.forward(plain.random_model(), read)


def each(done):
    """Run, sequence, labels, place of the right one."""
    read = done.sequences
    for run in range(2):
        for place in range(6):
            yield run, place, read.labels[run, place].tolist(), int(read.answer[run, place])


def test_loss_and_accuracy(done):
    losses, right = [0.0, 0.0], [0, 0]
    for run, place, labels, answer in each(done):
        logits = done["logits"][run, place].tolist()
        target = labels[answer]
        losses[run] += math.log(sum(math.exp(x) for x in logits)) - logits[target]
        right[run] += max(range(5), key=logits.__getitem__) == target
    assert progress.loss(done).tolist() == pytest.approx([x / 6 for x in losses], rel=1e-12)
    assert progress.accuracy(done).tolist() == pytest.approx([x / 6 for x in right], rel=1e-12)
    assert 0 < sum(right) < 12


def test_strength_of_induction(done):
    expected = torch.zeros(2, 8, dtype=torch.float64)
    for run, place, _, answer in each(done):
        for head in range(8):
            row = done["pattern2"][run, place, head, 4]
            expected[run, head] += (row[1 + 2 * answer] - row[3 - 2 * answer]) / 6
    torch.testing.assert_close(progress.induction_strength(done), expected)


def test_attention_of_labels_to_the_token_before(done):
    expected = torch.zeros(2, 8, dtype=torch.float64)
    for run, place, _, _ in each(done):
        for head in range(8):
            pattern = done["pattern1"][run, place, head]
            expected[run, head] += (pattern[1, 0] + pattern[3, 2]) / 12
    torch.testing.assert_close(progress.previous_token(done), expected)


def test_a_perfect_head_has_strength_one(done):
    for strength, expected in ((1.0, 1), (0.5, 0), (0.0, -1)):
        clamped = training.forward(done.model, done.sequences, training.matched(strength))
        assert (progress.induction_strength(clamped)[:, 3] == expected).all()
    clamped = training.forward(done.model, done.sequences, training.previous_token())
    assert (progress.previous_token(clamped)[:, 2] == 1).all()
