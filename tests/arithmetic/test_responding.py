"""Responses to a change of an operand's digit, against passes through Hugging Face."""

import re

import numpy as np
import plain_adder
import pytest
import torch
from universal_response.arithmetic import Problems
from universal_response.arithmetic.responding import raised, scaled

OPERANDS = [0, 1, 3, 4]


def of_states(found, clean):
    """Length of a change over that of the state, (position, problem, answer)."""
    return torch.stack(
        [
            torch.stack(
                [
                    (one[:, place] - other[:, place]).norm(dim=-1) / other[:, place].norm(dim=-1)
                    for place in plain_adder.ANSWERING
                ],
                1,
            )
            for one, other in zip(found, clean, strict=True)
        ]
    )


def test_a_scaled_digit_is_a_difference_of_passes():
    """Per unit of strength, by passes that are weakened and strengthened a little."""
    problems, step = plain_adder.problems(4), 1e-5
    tokens = torch.from_numpy(problems.tokens())
    found = scaled(problems, plain_adder.bridge(), OPERANDS)
    clean = plain_adder.passed(tokens).states
    for k, source in enumerate(OPERANDS):
        runs = []
        for strength in (step, -step):

            def weaken(embedded, strength=strength, source=source):
                embedded = embedded.clone()
                embedded[:, source] *= 1 - strength
                return embedded

            runs.append(plain_adder.passed(tokens, {("embedding", 0): weaken}).states)
        changes = [(one - other) / (2 * step) for one, other in zip(*runs, strict=True)]
        moved = [state + change for state, change in zip(clean, changes, strict=True)]
        plain_adder.assert_close(found[:, :, k], of_states(moved, clean), 1e-7)
    assert found.shape == (1 + 2 * plain_adder.LAYERS, 4, len(OPERANDS), 3)
    assert (found[0] == 0).all()


@pytest.mark.parametrize("source", OPERANDS)
def test_a_raised_digit_is_a_pass_with_the_next_one(source):
    """In any order of digits; the result stays."""
    digits = [4, 1, 8, 4, 0, 7, 1, 1, 8, 3]
    generator = np.random.default_rng(source)
    first, second = generator.integers(100, size=(2, len(digits)))
    problems = Problems(first, second, np.zeros(len(digits), dtype=bool))
    tokens = torch.from_numpy(problems.tokens())
    tokens[:, source] = torch.tensor(digits)
    before = tokens.clone()
    found = raised(tokens, plain_adder.bridge(), source)
    assert torch.equal(tokens, before)
    other = tokens.clone()
    other[:, source] += 1
    expected = of_states(plain_adder.passed(other).states, plain_adder.passed(tokens).states)
    plain_adder.assert_close(found, expected, 1e-10)
    # Not the same for all, so that another order would be seen.
    assert len({f"{value:.6f}" for value in expected[-1, :, 0].tolist()}) == len(digits)


def test_nine_has_no_next_digit():
    tokens = torch.from_numpy(Problems(np.array([49]), np.array([10]), np.array([False])).tokens())
    said = re.escape("tokens: a digit of 9 has no next one; leave those out")
    with pytest.raises(ValueError, match=f"^{said}$"):
        raised(tokens, plain_adder.bridge(), 1)
    assert raised(tokens, plain_adder.bridge(), 0).shape == (5, 1, 3)
