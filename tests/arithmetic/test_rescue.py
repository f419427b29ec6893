"""Failing problems patched from others, against the same patches through Hugging Face."""

import re

import numpy as np
import plain_adder
import pytest
import torch
from universal_response.arithmetic import Problems
from universal_response.arithmetic.nodes import all_nodes
from universal_response.arithmetic.rescue import donors_for, patched, rescued

FAILING, DONORS = plain_adder.problems(24), plain_adder.problems(24, seed=1)
TOKENS, GIVEN = (torch.from_numpy(each.tokens()) for each in (FAILING, DONORS))
EVERY = all_nodes(plain_adder.LAYERS, plain_adder.HEADS, range(plain_adder.PLACES))
SOME = [node for node in EVERY if node.place in (4, 5, 6)][::2]


def said_by(tokens, nodes=(), given=GIVEN):
    """Digits of largest logit, (problem, answer)."""
    donor = plain_adder.passed(given)
    changes = plain_adder.putting(nodes, donor)
    return plain_adder.digit_logits(plain_adder.passed(tokens, changes)).argmax(-1).numpy()


@pytest.mark.parametrize("answer", range(3))
@pytest.mark.parametrize("nodes", [SOME, EVERY[::3], []], ids=len)
def test_rescued_are_those_of_patches_by_hand(answer, nodes):
    found = rescued(
        FAILING, DONORS, iter(nodes), answer, plain_adder.bridge(), plain_adder.unembedding()
    )
    said = said_by(TOKENS, nodes)[:, answer]
    np.testing.assert_array_equal(found.right, said == TOKENS[:, 6 + answer].numpy())
    np.testing.assert_array_equal(found.donors, said == GIVEN[:, 6 + answer].numpy())


def saying(tokens):
    """Tokens with the result that the model gives to them, all but the last digit in turn."""
    found = tokens.clone()
    for answer in range(3):
        found[:, 6 + answer] = torch.from_numpy(said_by(found)[:, answer])
    return found


@pytest.mark.parametrize("answer", range(3))
def test_all_that_the_donor_has_gives_its_answer(answer):
    """But for the embedding of the place itself, the same where the token is: at `=`."""
    of, by = (
        plain_adder.outputs(saying(tokens), plain_adder.bridge()) for tokens in (TOKENS, GIVEN)
    )
    same = (of.tokens[:, 5 + answer] == by.tokens[:, 5 + answer]).numpy()
    found = patched(of, by, EVERY, answer, plain_adder.bridge(), plain_adder.unembedding())
    assert same.any()
    assert found.donors[same].all()
    right = of.tokens[:, 6 + answer] == by.tokens[:, 6 + answer]
    np.testing.assert_array_equal(found.right[same], right.numpy()[same])


@pytest.mark.parametrize("answer", range(3))
def test_nothing_patched_changes_nothing(answer):
    """Right is what the tokens say, so that all problems with the model's own result are right."""
    of, by = (
        plain_adder.outputs(saying(tokens), plain_adder.bridge()) for tokens in (TOKENS, GIVEN)
    )
    found = patched(of, by, [], answer, plain_adder.bridge(), plain_adder.unembedding())
    assert found.right.all()
    alike = of.tokens[:, 6 + answer] == by.tokens[:, 6 + answer]
    np.testing.assert_array_equal(found.donors, alike.numpy())


@pytest.mark.parametrize(
    ("donors", "said"),
    [
        (DONORS[:5], "donors: 5 of 2 digits for 24 problems of 2; give one of the same length for "
                     "each"),
        (
            Problems(np.arange(24) % 10, np.zeros(24, dtype=int), np.zeros(24, dtype=bool), 1),
            "donors: 24 of 1 digits for 24 problems of 2; give one of the same length for each",
        ),
    ],
)  # fmt: skip
def test_donors_of_another_number_or_length_are_refused(donors, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        rescued(FAILING, donors, EVERY, 0, plain_adder.bridge(), plain_adder.unembedding())


# donors -------------------------------------------------------------------------------------------


def problems(*each):
    first, second, minus = zip(*each, strict=True)
    return Problems(np.array(first), np.array(second), np.array(minus))


SOLVED = problems(
    (40, 5, False),  # 45
    (22, 23, False),  # 45
    (55, 10, True),  # 45
    (99, 98, False),  # 197
    (90, 65, False),  # 155
    (50, 11, True),  # 39
)


def drawn(problem, answer, same):
    return {
        int(donors_for(problems(problem), SOLVED, answer, same, np.random.default_rng(seed))[0])
        for seed in range(60)
    }


@pytest.mark.parametrize(
    ("problem", "answer", "same", "expected"),
    [
        ((44, 1, False), 0, True, {0, 1}),  # 45, as a sum
        ((46, 1, True), 1, True, {2}),  # 45, as a difference
        ((60, 95, False), 0, True, {4}),
        ((1, 1, False), 0, True, {-1}),  # 2
        ((50, 11, False), 0, True, {-1}),  # 61
        ((30, 15, False), 0, False, {3}),  # others than 5
        ((30, 15, False), 1, False, {3, 4}),  # than 4
        ((30, 15, False), 2, False, {3, 4}),  # than 0
        ((46, 1, True), 0, False, {5}),
        ((46, 1, True), 2, False, {-1}),  # all are 0
    ],
)
def test_donors_fit(problem, answer, same, expected):
    assert drawn(problem, answer, same) == expected


def test_a_donor_for_every_problem():
    failing = problems((44, 1, False), (1, 1, False), (46, 1, True))
    found = donors_for(failing, SOLVED, 0, True, np.random.default_rng(0))
    assert found.shape == (3,)
    assert found[0] in (0, 1)
    assert found[1:].tolist() == [-1, 2]
