"""What parts write along digits, against the matrices of the Hugging Face model."""

import math

import numpy as np
import plain
import plain_adder
import pytest
import torch
from universal_response.arithmetic import Problems, all_problems
from universal_response.arithmetic.lens import along, followed, lens, written

PROBLEMS = plain_adder.problems(6)
TOKENS = torch.from_numpy(PROBLEMS.tokens())
ANSWERING = list(plain_adder.ANSWERING)


@pytest.fixture(scope="module")
def run():
    return plain_adder.of(PROBLEMS)


@pytest.fixture(scope="module")
def expected():
    return plain_adder.passed(TOKENS)


@pytest.fixture(scope="module")
def found(run):
    return written(run, plain_adder.bridge(), plain_adder.unembedding())


def less_mean(logits):
    return logits - logits.mean(-1, keepdim=True)


def along_digits(added, last):
    """What is added at the places that answer, through the final norm of the last state."""
    norm, head = plain_adder.hf().model.norm, plain_adder.hf().lm_head
    rows = []
    for place in ANSWERING:
        scale = (last[:, place].square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
        rows.append((added[:, place] / scale * norm.weight) @ head.weight[:10].T)
    return less_mean(torch.stack(rows, 1))


def test_parts_sum_to_the_logits_less_their_mean(found, expected):
    whole = less_mean(plain_adder.digit_logits(expected))
    assert float((found.total - whole).abs().max()) < 1e-10
    assert float(whole.abs().max()) > 0.5


def test_what_heads_write_is_that_of_their_matrices(found, expected):
    for layer in range(plain_adder.LAYERS):
        matrix = plain_adder.hf().model.layers[layer].self_attn.o_proj.weight
        for head in range(plain_adder.HEADS):
            own = slice(head * plain_adder.D_HEAD, (head + 1) * plain_adder.D_HEAD)
            added = expected.z[layer][..., own] @ matrix[:, own].T
            mine = along_digits(added, expected.states[-1])
            plain_adder.assert_close(found.heads[layer, head], mine)


def test_what_the_embedding_and_mlps_write_is_what_they_give(found, expected):
    last = expected.states[-1]
    plain_adder.assert_close(found.embedding, along_digits(expected.states[0], last))
    for layer in range(plain_adder.LAYERS):
        plain_adder.assert_close(found.mlps[layer], along_digits(expected.mlps[layer], last))


def test_the_lens_reads_every_state_as_if_it_were_the_last(run, expected):
    model = plain_adder.hf()
    found = lens(run, plain_adder.unembedding())
    assert len(found) == len(expected.states) == 1 + 2 * plain_adder.LAYERS
    for mine, state in zip(found, expected.states, strict=True):
        with plain.uncast():
            logits = model.lm_head(model.model.norm(state[:, ANSWERING]))[..., :10]
        plain_adder.assert_close(mine, less_mean(logits))
    plain_adder.assert_close(found[-1], less_mean(plain_adder.digit_logits(expected)))


def tokens_of(*problems):
    """Of (first, second) for a sum, (first, second, True) for a difference."""
    columns = [np.array([each[k] for each in problems]) for k in (0, 1)]
    minus = np.array([len(each) == 3 for each in problems])
    return torch.from_numpy(Problems(*columns, minus).tokens())


def test_digits_that_are_followed_of_one_problem():
    """47 + 38 = 85."""
    found = followed(tokens_of((47, 38)))
    assert found["right"].tolist() == [[5, 8, 0]]
    assert found["first"].tolist() == [[7, 4, -1]]
    assert found["second"].tolist() == [[8, 3, -1]]
    assert list(found) == ["right", "first", "second", "other"]


def test_the_other_digit_is_none_of_the_three_and_any_of_the_rest():
    tokens = torch.from_numpy(all_problems().tokens())
    found = followed(tokens)
    for name in ("right", "first", "second"):
        assert (found["other"] != found[name]).all()
    free = (found["right"] != 0) & (found["first"] != 0) & (found["second"] != 0)
    for digit in range(1, 10):
        assert (found["other"] == digit).float().mean() > 0.08
    assert (found["other"][:, :2][free[:, :2]] == 0).float().mean() > 0.08
    assert torch.equal(followed(tokens, 0)["other"], found["other"])
    assert not torch.equal(followed(tokens, 1)["other"], found["other"])


def test_logits_along_digits_are_picked_one_by_one():
    tokens = tokens_of((47, 38), (52, 15, True), (90, 27))
    logits = torch.arange(2 * 3 * 3 * 10, dtype=torch.float64).view(2, 3, 3, 10).sin()
    names, found = followed(tokens), along(logits, tokens)
    for name, each in found.items():
        for part in range(2):
            for problem in range(3):
                for answer in range(3):
                    digit = int(names[name][problem, answer])
                    expected = (
                        math.nan if digit < 0 else float(logits[part, problem, answer, digit])
                    )
                    # 90 + 27: units of the result are those of the second.
                    if (problem, answer) == (2, 0):
                        expected = math.nan
                    mine = float(each[part, problem, answer])
                    assert mine == pytest.approx(expected, nan_ok=True), (name, problem, answer)


@pytest.mark.parametrize(
    ("problem", "alike"),
    [
        ((47, 38), [False, False]),
        ((40, 38), [True, False]),  # the result has the units of the second
        ((38, 40), [True, False]),  # of the first
        ((37, 47), [True, False]),  # both operands have the same
        ((37, 31), [False, True]),
        ((55, 55), [True, True]),
        ((45, 27), [False, False]),
    ],
)
def test_digits_that_are_alike_are_left_out(problem, alike):
    """Where nothing is, as in the first digit of a result, nothing is alike."""
    found = along(torch.randn(1, 3, 10), tokens_of(problem))
    for name, each in found.items():
        last = name in ("first", "second")
        assert each.isnan().tolist() == [[*alike, last]], name
