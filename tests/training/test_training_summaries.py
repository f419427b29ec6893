"""Numbers read off curves of training, against curves whose answer is known by hand."""

import numpy as np
import pytest
import xarray as xr
from made_up_training import LAG, LEARNED, study
from scipy.stats import spearmanr
from universal_response.training import summaries


@pytest.fixture(scope="module")
def data():
    return study()


def curve(*rows):
    return xr.DataArray(np.array(rows, float), dims=("run", "time"))


def test_a_level_is_passed_between_two_evaluations():
    when = curve([0, 10, 20, 30], [0, 100, 200, 300], [5, 6, 7, 8], [5, 6, 7, 8])
    values = curve([1, 0.8, 0.3, 0.9], [1, 0.9, 0.8, 0.4], [1, 1, 1, 1], [0.1, 0.2, 0.9, 0.1])
    found = summaries.first_below(values, 0.5, when)
    assert found.values.tolist() == [16, 275, np.inf, 5]


def test_learned_is_where_the_loss_was_made_to_pass(data):
    for name, end in LEARNED.items():
        assert summaries.learned(data, name)[0] == pytest.approx(end, rel=0.02), name


def test_plateau_is_ln2_and_unknown_where_nothing_is_learned(data):
    np.testing.assert_allclose(summaries.plateau(data, "full"), np.log(2), rtol=1e-6)
    assert summaries.plateau(data.assign(loss=data.loss * 0 + 0.7), "full").isnull().all()


def test_steepness_of_a_fall_on_a_line(data):
    fall = (np.log(2) - 0.35) / 0.1  # a tenth of the time from ln 2 to .35
    times = [0.9 + (np.log(2) - level) / fall for level in (0.6, 0.2)]
    expected = (times[1] - times[0]) / times[0]
    np.testing.assert_allclose(summaries.steepness(data, "full"), expected, rtol=0.15)


def test_contrast_is_of_the_responses(data):
    found = summaries.contrast(data, "responses")
    right, wrong = (data.response.sel(label=label) for label in ("correct", "wrong"))
    expected = ((right - wrong) / (right + wrong))[(data.experiment == "responses").values]
    np.testing.assert_allclose(found, expected)


def test_half_points_follow_each_other_as_made(data):
    found = summaries.half_points(data, "responses")
    np.testing.assert_allclose(found.contrast / found.strength, LAG, rtol=0.01)
    np.testing.assert_allclose(found.loss / found.strength, 1, rtol=0.01)


def test_runs_end_where_their_training_ends(data):
    longer = data.copy()
    mine = (data.experiment == "L1").values
    times = data.sequences.values.copy()
    times[mine, 40:] = np.nan
    longer["sequences"] = (data.sequences.dims, times)
    assert summaries.runs_of(longer, "L1").sizes["time"] == 40
    with pytest.raises(ValueError, match="experiment=L2: not in this study; choose one of full, "):
        summaries.runs_of(data, "L2")


def test_ratios_are_those_of_all_pairs():
    found = summaries.ratios(xr.DataArray([1.0, 2.0]), xr.DataArray([2.0, 6.0, 8.0]))
    assert sorted(found) == [1, 2, 3, 4, 6, 8]


def test_rank_correlation_is_spearmans_with_ties():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (2, 3, 12)).astype(float)
    arrays = (xr.DataArray(each, dims=("trained", "head")) for each in (one, other))
    found = summaries.rank_correlation(*arrays, "head")
    expected = [spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(found, expected)
