"""Repeated random tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from universal_response import repeated_random_tokens
from universal_response.sequences import LATER, Arrangement, arranged_random_tokens

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


# arrangements ------------------------------------------------------------------------------------


BOS = 199


def arranged(t0, batch, vocabulary=200, distinct=False, **of):
    generator, arrangement = np.random.default_rng(0), Arrangement(**of)
    return arranged_random_tokens(t0, batch, vocabulary, generator, arrangement, distinct, BOS)


ARRANGEMENTS = st.fixed_dictionaries(
    {
        "later": st.sampled_from(LATER),
        "copies": st.integers(2, 4),
        "gap": st.integers(0, 5),
        "bos": st.booleans(),
    }
)


@given(of=ARRANGEMENTS, t0=st.integers(2, 12), batch=st.integers(1, 5), distinct=st.booleans())
def test_blocks_stand_as_they_were_arranged(of, t0, batch, distinct):
    """Cut into its parts by a plain loop, every sequence is what its arrangement says."""
    tokens = arranged(t0, batch, distinct=distinct, **of)
    made = Arrangement(**of)
    assert tokens.shape == (batch, made.length(t0))
    assert tokens.dtype == np.int64
    for row in tokens.tolist():
        if of["bos"]:
            assert row.pop(0) == BOS
        blocks, gaps = [row[:t0]], []
        row = row[t0:]
        while row:
            gaps.append(row[: of["gap"]])
            blocks.append(row[of["gap"] : of["gap"] + t0])
            row = row[of["gap"] + t0 :]
        assert len(blocks) == of["copies"]
        for block in blocks[1:]:
            assert (block == blocks[0]) or of["later"] != "same"
            assert sorted(block) == sorted(blocks[0]) or of["later"] == "other"
        if distinct:
            others = blocks if of["later"] == "other" else blocks[:1]
            drawn = [token for part in (*others, *gaps) for token in part]
            assert len(set(drawn)) == len(drawn)


@given(of=ARRANGEMENTS, distinct=st.booleans())
def test_smaller_batches_begin_larger_ones_in_every_arrangement(of, distinct):
    smaller, larger = (arranged(6, n, distinct=distinct, **of) for n in (2, 7))
    assert np.array_equal(larger[:2], smaller)


@given(of=ARRANGEMENTS)
def test_first_blocks_are_the_papers(of):
    found = arranged(6, 3, **of)
    first = int(of["bos"])
    assert np.array_equal(found[:, first : first + 6], draw(6, 3, 200)[:, :6])


def test_shuffled_blocks_are_in_another_order_each():
    tokens = arranged(64, 4, vocabulary=10_000, later="shuffled", copies=3).reshape(4, 3, 64)
    blocks = {tuple(block) for row in tokens for block in row}
    assert len(blocks) == 12
    # A token stays in its place once a block, on average.
    stays = (tokens[:, 1:] == tokens[:, :1]).sum(-1)
    assert stays.max() < 8


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({}, 15),
        ({"gap": 5}, 20),
        ({"copies": 3, "bos": True}, 15),
        ({"later": "shuffled"}, None),
        ({"later": "other", "gap": 3}, None),
    ],
)
def test_where_induction_would_look(of, expected):
    arrangement = Arrangement(**of)
    assert arrangement.distance(16) == expected
    if expected is not None:
        tokens = arranged(16, 2, distinct=True, **of)
        assert (tokens[:, -1] == tokens[:, -1 - (expected + 1)]).all()


@pytest.mark.parametrize(
    ("of", "start"),
    [
        ({"later": "reversed"}, "later=reversed: choose one of same, shuffled, other"),
        ({"copies": 1}, "copies=1: use at least 2"),
        ({"gap": -1}, "gap=-1: use a gap >= 0"),
    ],
)
def test_wrong_arrangements_are_refused(of, start):
    with pytest.raises(ValueError, match=rf"\A{start}\Z"):
        Arrangement(**of)


@pytest.mark.parametrize(
    ("of", "start"),
    [
        ({"t0": 1, "batch": 1}, "t0=1: "),
        ({"t0": 4, "batch": 0}, "batch=0: "),
        ({"t0": 4, "batch": 1, "vocabulary": 1}, "vocabulary_size=1: "),
        (
            {"t0": 4, "batch": 1, "vocabulary": 9, "later": "other", "gap": 2, "distinct": True},
            "distinct: 9 tokens do not make 10 distinct ones",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(of, start):
    with pytest.raises(ValueError, match=rf"\A{start}[^\n]*\Z"):
        arranged(**of)


def test_without_a_bos_token_there_is_none():
    with pytest.raises(ValueError, match=r"\Abos: the model has no BOS token; leave it out\Z"):
        arranged_random_tokens(4, 1, 20, np.random.default_rng(0), Arrangement(bos=True))
