"""Repeated random tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from universal_response import repeated_random_tokens
from universal_response.sequences import separated_random_tokens

sizes = {"t0": st.integers(2, 20), "batch": st.integers(1, 8), "vocabulary": st.integers(2, 300)}


def draw(t0, batch, vocabulary, seed=0):
    return repeated_random_tokens(t0, batch, vocabulary, np.random.default_rng(seed))


@given(**sizes)
def test_block_is_repeated_once_and_in_range(t0, batch, vocabulary):
    tokens = draw(t0, batch, vocabulary)
    assert tokens.shape == (batch, 2 * t0)
    assert tokens.dtype == np.int64
    assert np.array_equal(tokens[:, :t0], tokens[:, t0:])
    assert tokens.min() >= 0
    assert tokens.max() < vocabulary


@given(**sizes)
def test_smaller_batch_is_the_beginning_of_a_larger_one(t0, batch, vocabulary):
    smaller, larger = draw(t0, batch, vocabulary), draw(t0, batch + 5, vocabulary)
    assert np.array_equal(larger[:batch], smaller)


def test_seed_decides():
    assert np.array_equal(draw(16, 4, 1000, seed=3), draw(16, 4, 1000, seed=3))
    assert not np.array_equal(draw(16, 4, 1000, seed=3), draw(16, 4, 1000, seed=4))


def test_sequences_and_tokens_differ():
    tokens = draw(64, 8, 50_000)
    assert len({tuple(row) for row in tokens}) == 8
    assert len(np.unique(tokens[0])) > 50


def test_tokens_are_uniform():
    """Every token, the first and last included, comes up as often as chance has it."""
    tokens = draw(1000, 20, 10)[:, :1000]
    counts = np.bincount(tokens.ravel(), minlength=10)
    # 20 000 draws: 2000 each, standard deviation 42.
    assert np.abs(counts - 2000).max() < 6 * 42
    first, later = tokens[:, 0::2].ravel(), tokens[:, 1::2].ravel()
    assert abs(np.corrcoef(first, later)[0, 1]) < 0.05


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("t0", (1, 1, 10)),
        ("t0", (-3, 1, 10)),
        ("batch", (4, 0, 10)),
        ("vocabulary_size", (4, 1, 1)),
    ],
)
def test_bad_argument_is_named(name, arguments):
    with pytest.raises(ValueError, match=rf"\A{name}=[^\n]*\Z"):
        draw(*arguments)


# with a gap --------------------------------------------------------------------------------------


@given(t0=st.integers(2, 20), gap=st.integers(0, 20), batch=st.integers(1, 5))
def test_a_block_comes_again_behind_a_gap_of_other_tokens(t0, gap, batch):
    tokens = separated_random_tokens(t0, gap, batch, 41, np.random.default_rng(0))
    assert tokens.shape == (batch, 2 * t0 + gap)
    assert tokens.dtype == np.int64
    assert np.array_equal(tokens[:, :t0], tokens[:, t0 + gap :])
    for row in tokens[:, : t0 + gap]:
        assert len(set(row.tolist())) == t0 + gap
    assert tokens.min() >= 0
    assert tokens.max() < 41


def test_without_a_gap_it_is_the_block_of_distinct_tokens():
    found = separated_random_tokens(7, 0, 3, 50, np.random.default_rng(4))
    expected = repeated_random_tokens(7, 3, 50, np.random.default_rng(4), distinct=True)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("t0", (1, 2, 1, 10)),
        ("gap", (4, -1, 1, 10)),
        ("batch", (4, 2, 0, 10)),
        ("gap=7: 10 tokens do not make a block of 4 and a gap", (4, 7, 1, 10)),
    ],
)
def test_a_bad_argument_of_a_gap_is_named(name, arguments):
    with pytest.raises(ValueError, match=rf"\A{name}[^\n]*\Z"):
        separated_random_tokens(*arguments, np.random.default_rng(0))
