"""A small model learns to add, the same for the same seed, and is judged as it would write."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from universal_response import arithmetic
from universal_response.arithmetic import AdderSettings
from universal_response.arithmetic.learning import part_of_rate

TINY = AdderSettings(digits=1, width=16, heads=2, inner=32, steps=4, batch=32, warm_up=2)


@pytest.fixture(scope="module")
def learned():
    """Sums and differences of single digits, in a few seconds."""
    return arithmetic.train(replace(TINY, width=32, inner=64, steps=400, batch=128, rate=1e-2))


def test_most_of_what_is_trained_is_learned(learned):
    right = arithmetic.is_right(learned, arithmetic.split(digits=1).training)
    assert right.all(1).mean() > 0.9


def test_an_untrained_model_guesses():
    model = arithmetic.train(replace(TINY, steps=1))
    assert arithmetic.is_right(model, arithmetic.all_problems(1)).all(1).mean() < 0.2


def test_right_is_what_it_writes_by_itself(learned):
    problems = arithmetic.all_problems(1)
    tokens = torch.from_numpy(problems.tokens())
    written = tokens[:, :4]
    for _ in range(2):
        following = learned(written).logits[:, -1].argmax(-1, keepdim=True)
        written = torch.cat([written, following], 1)
    expected = (written == tokens).all(1).numpy()
    assert expected.sum() > 0
    np.testing.assert_array_equal(arithmetic.is_right(learned, problems).all(1), expected)


def test_loss_is_that_of_what_is_asked_and_of_the_result_for_as_much(learned):
    tokens = torch.from_numpy(arithmetic.all_problems(1)[3:7].tokens())
    probability = learned(tokens).logits.softmax(-1)

    def of(places):
        lost = [
            -probability[row, place - 1, tokens[row, place]].log().item()
            for row in range(4)
            for place in places
        ]
        return np.mean(lost)

    found = arithmetic.loss(learned, tokens, 1).item()
    assert found == pytest.approx(of((1, 2, 3)) + of((4, 5)), rel=1e-5)


def test_a_seed_decides_everything():
    weights = [
        arithmetic.train(settings).state_dict() for settings in (TINY, TINY, replace(TINY, seed=1))
    ]
    name = "model.layers.0.mlp.up_proj.weight"
    assert all(torch.equal(weights[0][each], weights[1][each]) for each in weights[0])
    assert not torch.equal(weights[0][name], weights[2][name])


def test_training_leaves_the_global_source_of_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    arithmetic.train(replace(TINY, steps=1))
    assert torch.equal(torch.rand(2), expected)


def test_the_rate_rises_and_falls():
    settings = AdderSettings(steps=100, warm_up=10)
    parts = [part_of_rate(done, settings) for done in range(101)]
    assert parts[0] == pytest.approx(0.1)
    assert max(parts) == parts[9] > 0.95
    assert parts[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"steps": 0}, "steps=0: use at least 1"),
        ({"rate": 0.0}, "rate=0: use a number > 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1: use a number >= 0"),
        ({"withheld": "all"}, "withheld=all: choose one of nothing, cascades, block"),
        (
            {"width": 60},
            "width=60: use a multiple of 2 * heads = 8, as rotary positions turn pairs",
        ),
    ],
)
def test_other_settings_are_refused(asked, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        AdderSettings(**asked)
