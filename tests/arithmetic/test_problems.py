"""Sums and differences as tokens, against Python's own arithmetic on strings."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from universal_response import arithmetic
from universal_response.arithmetic import EQUALS, MINUS, PLUS, Problems

SIGNS = {PLUS: "+", MINUS: "-", EQUALS: "="}


def one(first, second, minus=False, digits=2):
    return Problems(np.array([first]), np.array([second]), np.array([minus]), digits)


def written(tokens):
    return "".join(SIGNS.get(int(token), str(token)) for token in tokens)


@st.composite
def problems(draw):
    digits = draw(st.integers(1, 4))
    low, high = sorted(draw(st.tuples(*[st.integers(0, 10**digits - 1)] * 2)))
    minus = draw(st.booleans())
    swapped = draw(st.booleans()) and not minus
    return (low, high, minus, digits) if swapped else (high, low, minus, digits)


@given(problems())
def test_a_problem_reads_as_it_is_solved(problem):
    first, second, minus, digits = problem
    (tokens,) = one(*problem).tokens()
    question, answer = written(tokens).split("=")
    sign = "-" if minus else "+"
    assert question == f"{first:0{digits}d}{sign}{second:0{digits}d}"
    result = first - second if minus else first + second
    assert answer[::-1] == f"{result:0{digits + 1}d}"


@given(problems())
def test_tokens_tell_the_problem(problem):
    found = arithmetic.problems_in(one(*problem).tokens())
    assert (found.first[0], found.second[0], found.minus[0], found.digits) == problem


@given(problems())
def test_carries_are_those_of_the_parts_below(problem):
    """A place hands one on if what stands up to it, taken alone, has outgrown its digits."""
    first, second, minus, digits = problem
    (handed,) = arithmetic.carries(one(*problem))
    for k in range(digits):
        low = 10 ** (k + 1)
        a, b = first % low, second % low
        assert handed[k] == (a < b if minus else a + b >= low)


def test_places_are_named():
    assert arithmetic.places() == ["a1", "a0", "op", "b1", "b0", "=", "r0", "r1", "r2"]
    assert len(arithmetic.places(3)) == one(1, 2, digits=3).tokens().shape[1]


def test_all_problems_are_there_once():
    every = arithmetic.all_problems(1)
    assert len(every) == 100 + 55
    assert len(np.unique(every.tokens(), axis=0)) == len(every)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        ((45, 55), True),
        ((99, 1), True),
        ((45, 65), False),  # the tens carry by themselves
        ((44, 55), False),
        ((19, 11), False),  # the units carry, the tens do not
        ((80, 19, True), False),
        ((45, 36, True), False),
        ((215, 106, True, 3), False),
        ((205, 106, True, 3), True),
        ((305, 106, True, 3), True),  # borrowed from a place that has none
    ],
)
def test_cascades(problem, expected):
    assert arithmetic.is_cascade(one(*problem)).tolist() == [expected]


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ((100, 1), "first=100: does not fit 2 digits; use 0 to 99"),
        ((1, -1), "second=-1: does not fit 2 digits; use 0 to 99"),
        ((1, 2, True), "1 - 2: a result is not negative; put the larger operand first"),
        ((1, 2, False, 0), "digits=0: use at least one"),
    ],
)
def test_what_cannot_be_written_is_refused(problem, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        one(*problem)


@pytest.mark.parametrize("place", [2, 5, 0])
def test_tokens_that_are_no_problem_are_refused(place):
    tokens = one(12, 34).tokens()
    tokens[0, place] = 12 if place == 0 else 3
    with pytest.raises(ValueError, match=r"^tokens: "):
        arithmetic.problems_in(tokens)
    with pytest.raises(ValueError, match=r"^tokens: 8 places"):
        arithmetic.problems_in(tokens[:, :8])
