"""Sequences of the curriculum, against what a loop finds in them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import one_line
from universal_response.training.gpt2 import CURRICULUM, Phase, drawn
from universal_response.training.gpt2.blocks import GAP_SHARE, LONGEST_GAP, generator_of_step

CONTEXT = 256


def readings(row):
    """All ways to read a row: how much junk, how long the block, where it begins again."""
    t, found = len(row), []
    for junk in range(t):
        for period in range(max(junk, 2), t):
            block = row[junk : junk + period]
            if len(set(block)) < period:
                break
            for gap in range(LONGEST_GAP + 1):
                again = junk + period + gap
                others = [*row[:junk], *row[junk + period : again]]
                if (
                    again + 2 <= t
                    and not set(others) & set(block)
                    and all(row[again + k] == block[k % period] for k in range(t - again))
                ):
                    found.append((junk, period, again))
    return found


@st.composite
def phases(draw):
    shortest = draw(st.integers(2, 6))
    longest = draw(st.integers(shortest, 9))
    length = draw(st.integers(longest + 2, 30))
    tokens = draw(st.integers(longest + 1, 40))
    return Phase(
        tokens=tokens,
        length=length,
        batch=draw(st.integers(1, 6)),
        shortest=shortest,
        longest=longest,
        steps=1,
        t0=2,
    )


@given(phases(), st.integers(0, 2**30))
def test_blocks_come_again_and_are_scored_from_then_on(phase, seed):
    found = drawn(phase, CONTEXT, np.random.default_rng(seed))
    assert found.tokens.shape == found.scored.shape == (phase.batch, phase.length)
    assert int(found.tokens.min()) >= 0
    assert int(found.tokens.max()) < phase.tokens
    for row, scored in zip(found.tokens.tolist(), found.scored.tolist(), strict=True):
        masks = [
            [place > again for place in range(phase.length)]
            for junk, period, again in readings(row)
            if phase.shortest <= period <= phase.longest and junk <= period
        ]
        assert scored in masks
        assert any(scored)


@given(phases(), st.integers(0, 2**30))
def test_positions_run_from_an_offset_within_the_context(phase, seed):
    found = drawn(phase, CONTEXT, np.random.default_rng(seed)).positions
    assert (found.diff(dim=1) == 1).all()
    assert int(found.min()) >= 0
    assert int(found.max()) < CONTEXT


def test_all_lengths_gaps_and_positions_occur():
    phase = Phase(tokens=60, length=60, batch=4000, shortest=2, longest=5, steps=1, t0=2)
    found = drawn(phase, CONTEXT, np.random.default_rng(0))
    # A block of which all comes twice and more is read in one way.
    read = [readings(row)[-1] for row in found.tokens[:400].tolist()]
    periods = np.array([period for _, period, _ in read])
    gaps = np.array([again - junk - period for junk, period, again in read])
    assert set(periods) == {2, 3, 4, 5}
    assert set(gaps) == set(range(LONGEST_GAP + 1))
    # Four standard errors of 400 sequences.
    assert np.mean(gaps > 0) == pytest.approx(GAP_SHARE, abs=0.09)
    for period in range(2, 6):
        assert {junk for junk, each, _ in read if each == period} == set(range(period + 1))
    assert set(found.positions.flatten().tolist()) == set(range(CONTEXT))
    assert found.positions[:, 0].float().mean() == pytest.approx((CONTEXT - 60) / 2, rel=0.05)


def test_every_token_in_use_is_drawn_equally_often():
    phase = replace(CURRICULUM[0], batch=2000)
    found = drawn(phase, CONTEXT, np.random.default_rng(1)).tokens
    counts = found.flatten().bincount(minlength=24).double()
    assert len(counts) == 24
    # About 2,000 draws of each, in 2,000 sequences; within a sequence they are not independent.
    np.testing.assert_allclose(counts, counts.mean(), rtol=0.15)


def test_a_step_has_the_sequences_of_its_seed():
    def tokens(seed, step):
        return drawn(CURRICULUM[0], CONTEXT, generator_of_step(seed, step)).tokens.tolist()

    assert tokens(1, 2) == tokens(1, 2)
    assert len({repr(tokens(seed, step)) for seed in (0, 1, 2) for step in (0, 1, 2)}) == 9


WRONG = {
    "batch": ({"batch": 0}, "batch=0: use at least 1"),
    "steps": ({"steps": 0}, "steps=0: use at least 1"),
    "shortest": ({"shortest": 1}, "shortest=1: use 2 <= shortest <= longest = 8"),
    "longest": ({"longest": 3, "shortest": 4}, "shortest=4: use 2 <= shortest <= longest = 3"),
    "tokens": ({"tokens": 8}, "tokens=8: none is left beside a block; use more than longest = 8"),
    "length": ({"length": 9, "t0": 2}, "length=9: no block comes again; use at least longest"),
    "t0": ({"t0": 13}, "t0=13: two blocks must fit; use 2 to 12"),
    "one": ({"t0": 1}, "t0=1: two blocks must fit; use 2 to 12"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_phase_that_cannot_be_is_refused_in_one_line(name):
    changed, start = WRONG[name]
    with pytest.raises(ValueError, match=one_line(start)):
        replace(CURRICULUM[0], **changed)
