"""Numbers of the paper beside ours, on a study whose numbers are known."""

import numpy as np
import pytest
from made_up_training import LATER, LEARNED, STRENGTH, study
from universal_response import claims
from universal_response.claims import NUMBERS, Range, median_and_range

ROWS = {each.quantity: each.evaluate for each in NUMBERS}


@pytest.fixture(scope="module")
def made():
    """The study, with heads in another order in every seed."""
    found = study()
    order = np.array([np.random.default_rng(seed).permutation(8) for seed in range(3)])
    for name in ("strength", "keep_one_accuracy"):
        found[name] = (found[name].dims, np.take_along_axis(found[name].values, order, 1))
    return found


@pytest.mark.parametrize("name", ["L1 + copy", "match", "copy", "L1", "PT", "none", "all PT"])
def test_times_are_those_of_their_experiment(made, name):
    row = next(row for row in ROWS if row.removeprefix("sequences to a loss of .35: ") == name)
    expected = LEARNED[name] * LATER ** np.arange(3)
    np.testing.assert_allclose(ROWS[row](made), expected, rtol=0.02)


def test_heads_are_taken_by_their_strength(made):
    named = {"strength of the strongest induction head": 0, "of the second": 1, "of the weakest": 7}
    for row, rank in named.items():
        np.testing.assert_allclose(ROWS[row](made), STRENGTH[rank])
    for row, rank in (("strongest", 0), ("second", 1), ("weakest", 7)):
        where = np.argsort(-made.strength.values, 1)[:, rank]
        expected = [made.keep_one_accuracy.values[seed, head] for seed, head in enumerate(where)]
        (name,) = [each for each in ROWS if f"the {row} alone" in each and "loss" not in each]
        np.testing.assert_array_equal(ROWS[name](made), expected)


def test_the_table_has_a_row_for_every_number(made):
    table = claims.beside_source(made)
    assert list(table.columns) == ["quantity", "in the paper", "here"]
    assert len(table) == len(NUMBERS) == table.quantity.nunique() + 1  # "the same, values kept"
    assert table["in the paper"].str.contains(r"\d").all()
    for row, number in zip(table.here, NUMBERS, strict=True):
        found = number.evaluate(made)
        assert row == median_and_range(Range(np.median(found), found.min(), found.max()))


def test_numbers_are_written_with_three_digits():
    assert median_and_range(Range(1780.0, 0.12345, 56_789.0)) == "1,780 (0.123 to 57 thousand)"
    assert median_and_range(Range(1e5, 2e4, np.inf)) == "100 thousand (20 thousand to never)"
