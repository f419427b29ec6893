"""Sequences of the task, counted and compared with all there are."""

from itertools import permutations

import numpy as np
import pytest
import torch
from messages import one_line
from universal_response import training
from universal_response.training import SPLITS, Task


def rows(sequences):
    """As tuples of classes, labels and target."""
    return [
        (*classes.tolist(), *labels.tolist(), int(target))
        for classes, labels, target in zip(
            sequences.classes, sequences.labels, sequences.target, strict=True
        )
    ]


def test_as_many_as_the_source_has():
    assert Task().split("training").count == 78_400
    assert len(Task().split("training").pairs) == 8
    assert len(Task().split("relabelled").pairs) == 2
    assert len(Task(labels=10).split("training").pairs) == 36
    assert len(Task(labels=15).split("training").pairs) == 84
    assert len(Task(classes=200).split("training").classes) == 200


@pytest.mark.parametrize("name", SPLITS)
def test_every_sequence_has_one_number(name):
    split = Task(classes=4, labels=4).split(name)
    few = training.Split(split.classes[:4], split.pairs)
    found = rows(few.sequences(torch.arange(few.count)))
    pairs = [tuple(pair.tolist()) for pair in few.pairs]
    expected = {
        (a, b, query, first, second, first if query == a else second)
        for a, b in permutations(few.classes.tolist(), 2)
        for pair in pairs
        for first, second in (pair, pair[::-1])
        for query in (a, b)
    }
    assert len(found) == len(expected)
    assert not set(found) ^ expected


@pytest.mark.parametrize("task", [Task(), Task(seed=1), Task(labels=10, classes=200)])
def test_splits_share_nothing(task):
    known, unseen, relabelled = (task.split(name) for name in SPLITS)
    assert not set(known.classes.tolist()) & set(unseen.classes.tolist())
    assert torch.equal(relabelled.classes, known.classes)
    assert torch.equal(unseen.pairs, known.pairs)
    pairs, others = ({tuple(p.tolist()) for p in each.pairs} for each in (known, relabelled))
    assert not pairs & others
    assert len(pairs | others) == task.labels * (task.labels - 1) // 2
    assert set(known.pairs.flatten().tolist()) == set(range(task.labels))
    assert len(unseen.classes) == 100


class Mixing(np.random.Generator):
    """A generator whose first order holds out all nine pairs of label 0, and whose second none."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))
        self.orders = [np.arange(45), np.arange(45)[::-1].copy()]

    def permutation(self, n):
        return self.orders.pop(0)[:n]


def test_every_label_occurs_in_training():
    """With 10 labels nine pairs are held out, as many as a label has."""
    mixing = Mixing()
    known, held_out = Task(labels=10)._pairs(mixing)
    assert mixing.orders == []
    assert known.unique().tolist() == list(range(10))
    assert len(known) == 36
    assert len(held_out) == 9


def test_splits_depend_on_the_seed_alone():
    for name in SPLITS:
        first, again, other = (Task(seed=seed).split(name) for seed in (3, 3, 4))
        assert torch.equal(first.classes, again.classes)
        assert torch.equal(first.pairs, again.pairs)
        assert not torch.equal(first.classes, other.classes)


def test_more_classes_hold_the_fewer():
    few, many = (Task(classes=n).split("training") for n in (50, 100))
    assert torch.equal(few.classes, many.classes[:50])
    assert torch.equal(few.pairs, many.pairs)


def test_draws_depend_on_seed_and_use():
    split = Task().split("training")
    first, again, other, used = (
        rows(split.drawn(20, training.generator_of(*of)))
        for of in ((0, "data"), (0, "data"), (1, "data"), (0, "weights"))
    )
    assert first == again
    assert first not in (other, used)


def test_wrong_tasks_are_refused():
    with pytest.raises(ValueError, match=one_line("classes=1: ")):
        Task(classes=1)
    with pytest.raises(ValueError, match=one_line("classes=1524: use 2 to 1523")):
        Task(classes=1524)
    with pytest.raises(ValueError, match=one_line("labels=3: ")):
        Task(labels=3)
    with pytest.raises(ValueError, match=one_line("seed=-1: ")):
        Task(seed=-1)
    with pytest.raises(ValueError, match=one_line("split=test: choose one of training")):
        Task().split("test")
