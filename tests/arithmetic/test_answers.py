"""What a model says of problems, against Hugging Face and sums over ten digits by hand."""

import math
import re

import numpy as np
import plain_adder
import pytest
import torch
from tiny_models import tiny_model
from universal_response.arithmetic import Problems
from universal_response.arithmetic.answers import (
    Answers,
    answers,
    check_task,
    logit_difference,
    tokens_of,
)

PROBLEMS = plain_adder.problems(8)
TOKENS = torch.from_numpy(PROBLEMS.tokens())


@pytest.fixture(scope="module")
def said():
    return answers(plain_adder.of(PROBLEMS).normed, TOKENS, plain_adder.unembedding())


@pytest.fixture(scope="module")
def made_up():
    """Random logits, of which the first answer of every problem is right."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, 10, generator=generator, dtype=torch.float64)
    right = torch.randint(10, (5, 3), generator=generator)
    logits[range(5), 0, right[:, 0]] = 4.0
    wrong = (right[:, 1] + 1) % 10
    logits[range(5), 1, wrong] = 5.0
    return Answers(logits, right)


def each_of(answers):
    """Logits of every answer as a list, and its right digit."""
    n_problems, n_answers, _ = answers.logits.shape
    for problem in range(n_problems):
        for answer in range(n_answers):
            logits = answers.logits[problem, answer].tolist()
            yield problem, answer, logits, int(answers.right[problem, answer])


def test_logits_are_those_of_digits_where_the_result_is_predicted(said):
    expected = plain_adder.digit_logits(plain_adder.passed(TOKENS))
    plain_adder.assert_close(said.logits, expected)


def test_right_is_the_result_from_the_units_on(said):
    assert said.right.tolist() == plain_adder.results(PROBLEMS)


def test_probabilities_are_among_ten_digits(said):
    for problem, answer, logits, _ in each_of(said):
        whole = sum(math.exp(logit) for logit in logits)
        found = said.log_probability[problem, answer].tolist()
        assert found == pytest.approx([logit - math.log(whole) for logit in logits], abs=1e-12)


def test_the_probability_of_one_digit_is_picked(said):
    digits = (said.right + 3) % 10
    for problem, answer, logits, right in each_of(said):
        whole = sum(math.exp(logit) for logit in logits)
        expected = logits[(right + 3) % 10] - math.log(whole)
        assert float(said.of(digits)[problem, answer]) == pytest.approx(expected, abs=1e-12)


def test_the_logit_difference_is_to_the_mean_of_the_nine_others(said):
    for problem, answer, logits, right in each_of(said):
        others = [logit for digit, logit in enumerate(logits) if digit != right]
        found = float(said.logit_difference[problem, answer])
        assert found == pytest.approx(logits[right] - sum(others) / 9, abs=1e-12)


def test_right_has_the_largest_logit_and_a_ratio_of_one(made_up):
    for problem, answer, logits, right in each_of(made_up):
        assert bool(made_up.is_right[problem, answer]) == (max(logits) == logits[right])
        expected = logits[right] / max(logits)
        assert float(made_up.ratio[problem, answer]) == pytest.approx(expected)
    assert made_up.is_right[:, 0].all()
    assert (made_up.ratio[:, 0] == 1).all()
    assert not made_up.is_right[:, 1].any()
    assert (made_up.ratio[:, 1] < 1).all()


def test_the_metric_is_the_mean_logit_difference_of_a_problem(said):
    metric = logit_difference(TOKENS, plain_adder.unembedding())
    found = metric(plain_adder.of(PROBLEMS).normed)
    expected = [sum(row) / 3 for row in said.logit_difference.tolist()]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_problems_are_read_by_a_model_that_adds():
    found = tokens_of(PROBLEMS, plain_adder.bridge())
    np.testing.assert_array_equal(found.numpy(), PROBLEMS.tokens())


def refusal(vocabulary, context, places):
    return re.escape(
        f"model: {vocabulary} tokens and a context of {context}; one that adds here has 13 and at "
        f"least {places}; use a registered adder or train one with `universal-response train adder`"
    )


def test_a_model_of_other_tokens_is_refused():
    with pytest.raises(ValueError, match=f"^{refusal(101, 64, 9)}$"):
        tokens_of(PROBLEMS, tiny_model("llama"))


def test_a_context_too_short_is_refused():
    longer = Problems(np.array([123]), np.array([456]), np.array([False]), 3)
    with pytest.raises(ValueError, match=f"^{refusal(13, 9, 12)}$"):
        tokens_of(longer, plain_adder.bridge())
    check_task(13, 12, 12)
