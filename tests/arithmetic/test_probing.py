"""What can be read of states that were made so that the answer is known."""

import dataclasses

import numpy as np
import plain_adder
import pytest
import torch
from universal_response.activations import Outputs
from universal_response.arithmetic import Problems, all_problems, places
from universal_response.arithmetic.probing import labels, probed

N = 320


def test_labels_are_those_of_arithmetic():
    problems = all_problems()[::37]
    found = labels(problems)
    assert list(found) == ["a0", "a1", "b0", "b1", "carry", "r0", "r1", "r2"]
    for k in range(len(problems)):
        first, second = int(problems.first[k]), int(problems.second[k])
        minus = bool(problems.minus[k])
        result = first - second if minus else first + second
        carry = first % 10 < second % 10 if minus else first % 10 + second % 10 > 9
        expected = {
            "a0": first % 10, "a1": first // 10, "b0": second % 10, "b1": second // 10,
            "carry": int(carry),
            "r0": result % 10, "r1": result // 10 % 10, "r2": result // 100,
        }  # fmt: skip
        assert {name: int(label[k]) for name, label in found.items()} == expected


def test_labels_of_longer_numbers_are_those_of_more_places():
    problems = Problems(np.array([907]), np.array([95]), np.array([False]), 3)
    found = {name: int(label[0]) for name, label in labels(problems).items()}
    assert found == {
        "a0": 7, "a1": 0, "a2": 9, "b0": 5, "b1": 9, "b2": 0, "carry": 1,
        "r0": 2, "r1": 0, "r2": 0, "r3": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def read():
    """Sums of single digits: from l = 1 on, `=` holds the units of the result and b0 the carry."""
    generator = np.random.default_rng(0)
    first, second = generator.integers(10, size=(2, N))
    problems = Problems(first, second, np.zeros(N, dtype=bool), 1)
    noise = torch.from_numpy(generator.standard_normal((2, N, 6, 10)))
    result, carry = first + second, (first + second > 9).astype(int)
    noise[1, :, 3] = torch.eye(10, dtype=torch.float64)[torch.from_numpy(result % 10)]
    noise[1, :, 2] = torch.eye(10, dtype=torch.float64)[torch.from_numpy(carry)]
    run = Outputs(torch.from_numpy(problems.tokens()), list(noise), [0], [], [], [], noise[-1])
    held_out = np.arange(N) % 4 == 3
    found = probed(run, problems, held_out, seed=0)
    return list(labels(problems)), found, run, problems


def test_every_label_is_read_at_every_place_of_every_state(read):
    names, found, *_ = read
    assert found.shape == (len(names), 2, len(places(1)), 2)
    assert ((found >= 0) & (found <= 1)).all()


def test_what_a_state_holds_is_read_there(read):
    names, found, *_ = read
    assert found[names.index("r0"), 1, 3, 0] == 1
    assert found[names.index("carry"), 1, 2, 0] == 1
    assert found[names.index("r1"), 1, 2, 0] == 1


def test_what_a_state_does_not_hold_is_not_read(read):
    names, found, *_ = read
    digits = [names.index(name) for name in ("a0", "b0", "r0")]
    assert found[digits, 0, :, 0].max() < 0.3
    others = [place for place in range(6) if place not in (2, 3)]
    assert found[digits][:, 1, others, 0].max() < 0.3
    assert found[names.index("carry"), 0, :, 0].max() < 0.75


def test_shuffled_labels_are_read_by_chance(read):
    names, found, *_ = read
    shuffled = found[names.index("r0"), ..., 1]
    assert 0.03 < shuffled.mean() < 0.2
    assert shuffled.max() < 0.35


def test_what_is_held_out_is_what_is_asked(read):
    """Labels there that no fit has seen are all missed."""
    names, _, run, problems = read
    one = problems.result % 10 == 0
    state = run.states[1][:, 3:4].expand(-1, 6, -1)
    held = dataclasses.replace(run, states=[state], normed=state)
    found = probed(held, problems, one, seed=0)
    assert (found[names.index("r0"), ..., 0] == 0).all()


def test_operands_are_read_of_the_embedding_at_their_places():
    problems = plain_adder.problems(200)
    run = plain_adder.of(problems)
    embedded = dataclasses.replace(run, states=run.states[:1])
    found = probed(embedded, problems, np.arange(200) % 4 == 3, seed=0)
    names, at = list(labels(problems)), {name: k for k, name in enumerate(places())}
    for name in ("a0", "a1", "b0", "b1", "r0", "r1"):
        row = found[names.index(name), 0, :, 0]
        assert row[at[name]] > 0.95
        assert (np.delete(row, at[name]) < 0.6).all()
