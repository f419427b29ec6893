"""What is trained on, held out and withheld."""

import re

import numpy as np
import pytest
from universal_response import arithmetic
from universal_response.arithmetic import WITHHELD


def rows(problems):
    return {tuple(row) for row in problems.tokens().tolist()}


@pytest.mark.parametrize("withheld", WITHHELD)
def test_every_problem_is_in_one_part(withheld):
    found = arithmetic.split(withheld)
    parts = [rows(part) for part in (found.training, found.held_out, found.withheld)]
    assert sum(map(len, parts)) == len(arithmetic.all_problems())
    assert set.union(*parts) == rows(arithmetic.all_problems())
    assert 0.08 < len(parts[1]) / (len(parts[0]) + len(parts[1])) < 0.12


def test_what_is_withheld_is_of_its_kind():
    cascades = arithmetic.split("cascades")
    assert arithmetic.is_cascade(cascades.withheld).all()
    assert not arithmetic.is_cascade(cascades.training).any()
    # Units carry (45 pairs of digits) and tens sum to nine (10): sums alone have cascades.
    assert len(cascades.withheld) == 450
    block = arithmetic.split("block")
    for operand in (block.withheld.first, block.withheld.second):
        assert (operand.min(), operand.max()) == (40, 59)
    outside = (block.training.first // 20 != 2) | (block.training.second // 20 != 2)
    assert outside.all()
    assert len(arithmetic.split().withheld) == 0


def test_a_seed_decides_what_is_held_out():
    first, again, other = (arithmetic.split(seed=seed).held_out for seed in (1, 1, 2))
    assert rows(first) == rows(again)
    assert len(rows(first) & rows(other)) < 0.2 * len(first)


def test_what_is_held_out_is_drawn_over_all():
    held_out = arithmetic.split().held_out
    assert abs(held_out.minus.mean() - 5050 / 15050) < 0.05
    assert np.abs(np.bincount(held_out.first // 10) / len(held_out) - 0.1).max() < 0.06


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"withheld": "odd"}, "withheld=odd: choose one of nothing, cascades, block"),
        ({"seed": -1}, "seed=-1: use a seed >= 0"),
    ],
)
def test_other_splits_are_refused(asked, said):
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        arithmetic.split(**asked)
