"""How far two kinds are apart by a score, against counting pairs."""

import math

import numpy as np
import pytest
from universal_response.arithmetic.summaries import separation


def counted(score, positive):
    pairs = [
        1.0 if mine > other else 0.5 if mine == other else 0.0
        for mine, is_mine in zip(score, positive, strict=True)
        if is_mine
        for other, is_other in zip(score, positive, strict=True)
        if not is_other
    ]
    return sum(pairs) / len(pairs)


def test_separation_is_counted_over_pairs():
    generator = np.random.default_rng(0)
    for n in (2, 5, 40):
        score = generator.integers(6, size=n).astype(float)  # with ties
        positive = generator.random(n) < 0.4
        positive[:2] = True, False
        assert separation(score, positive) == pytest.approx(counted(score, positive))


def test_separation_of_what_is_apart_and_of_what_is_the_same():
    score, positive = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True])
    assert separation(score, positive) == 1
    assert separation(-score, positive) == 0
    assert separation(0 * score, positive) == 0.5
    for one_kind in (np.ones(4, dtype=bool), np.zeros(4, dtype=bool)):
        assert math.isnan(separation(score, one_kind))
