"""How likely a model finds what is asked, against products of probabilities."""

import math
import re

import numpy as np
import plain_adder
import pytest
import torch
from universal_response.arithmetic import Problems
from universal_response.arithmetic.likelihood import (
    FORMS,
    log_likelihood,
    true_differences,
    unseen_form,
)

SIGNS = {"+": 10, "-": 11, "=": 12}


def read(text):
    return [[SIGNS[each] if each in SIGNS else int(each) for each in text]]


def one(first, second, minus=False):
    return Problems(np.array([first]), np.array([second]), np.array([minus]))


def test_a_likelihood_is_a_product_of_probabilities():
    """Of all tokens up to `=` but the first."""
    problems = plain_adder.problems(5)
    tokens = torch.from_numpy(problems.tokens())
    found = log_likelihood(tokens, plain_adder.bridge(), plain_adder.unembedding())
    probability = plain_adder.passed(tokens).logits.softmax(-1)
    for problem in range(5):
        product = 1.0
        for place in (1, 2, 3, 4, 5):
            product *= float(probability[problem, place - 1, tokens[problem, place]])
        assert float(found[problem]) == pytest.approx(math.log(product), rel=1e-10)


def test_the_result_is_not_asked():
    tokens = torch.from_numpy(plain_adder.problems(3).tokens())
    other = tokens.clone()
    other[:, 6:] = 0
    one, same = (
        log_likelihood(each, plain_adder.bridge(), plain_adder.unembedding())
        for each in (tokens, other)
    )
    assert torch.equal(one, same)


@pytest.mark.parametrize(
    ("form", "problem", "written"),
    [
        ("operator first", (47, 38), "+4738=580"),
        ("operator first", (47, 38, True), "-4738=900"),
        ("operator last", (47, 38), "4738+=580"),
        ("operator last", (52, 7, True), "5207-=540"),
        ("negative difference", (52, 7, True), "07-52=540"),
        ("negative difference", (52, 7), "07-52=950"),  # whatever was asked is taken away
    ],
)
def test_forms_that_no_training_has(form, problem, written):
    assert form in FORMS
    assert unseen_form(form, one(*problem)).tolist() == read(written)


def test_another_form_is_refused():
    said = "form=upside down: choose one of operator first, operator last, negative difference"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        unseen_form("upside down", one(1, 2))


def test_true_differences_are_those_of_unlike_numbers():
    found = true_differences(1)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert found.minus.all()
    assert sorted(pairs) == [(a, b) for a in range(10) for b in range(a)]
    assert len(true_differences(2)) == 100 * 99 // 2
