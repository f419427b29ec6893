"""Averages that few carry: known cases, and intervals on samples of which the truth is known."""

import numpy as np
import pytest
import xarray as xr
from made_up import SEQUENCES, T0, results
from universal_response import response


def sequences(*values):
    return xr.DataArray(np.array(values, dtype=float), dims="sequence")


def test_effective_number_of_equal_numbers_is_theirs_and_of_a_single_one_is_one():
    assert response.effective_number(sequences(2, 2, 2, 2), "sequence") == 4
    assert response.effective_number(sequences(0, 5, 0), "sequence") == 1
    assert response.effective_number(sequences(1, np.nan, 1), "sequence") == 2


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_pairs_alike_is_the_correlation_they_were_made_with(correlation):
    generator = np.random.default_rng(0)
    shared, own = generator.normal(size=(4000, 1, 2)), generator.normal(size=(4000, 6, 2))
    values = 7 + 3 * (correlation**0.5 * shared + (1 - correlation) ** 0.5 * own)
    # Draws without a pair do not count.
    values[5, 2, 0] = values[:, 4, 0] = np.nan
    found = response.pairs_alike(xr.DataArray(values, dims=("sequence", "draw", "delta_j")))
    # The standard error of a correlation of 4000 sequences is .01 at most.
    np.testing.assert_allclose(found, [correlation, correlation], atol=0.03)
    first = np.delete(values[..., 0], [2, 4], axis=1)
    n, by_sequence = first.shape[1], first.mean(1)
    between, within = (
        n * by_sequence.var(ddof=1),
        ((first - by_sequence[:, None]) ** 2).sum() / (first.size - len(first)),
    )
    by_hand = (between - within) / (between + (n - 1) * within)
    assert float(found[0]) == pytest.approx(by_hand)


def test_effective_number_is_that_of_the_error_of_the_mean():
    """The relative variance of a bootstrap mean is 1 / n_effective - 1 / n."""
    values = sequences(*np.random.default_rng(0).lognormal(0, 1, 20))
    weights = response.bootstrap_weights("sequence", 20, 20000, np.random.default_rng(1))
    draws = xr.dot(values, weights, dim="sequence")[1:] / values.mean()
    expected = 1 / response.effective_number(values, "sequence") - 1 / 20
    assert float(draws.var()) == pytest.approx(float(expected), rel=0.05)


def test_cumulative_share():
    found = response.cumulative_share(sequences(1, 6, np.nan, 3))
    np.testing.assert_allclose(found, [0, 0.6, 0.9, 1])
    np.testing.assert_allclose(found.part, [0, 1 / 3, 2 / 3, 1])


def test_the_limit_of_each_sequence_is_its_sum_over_the_number_of_pairs():
    dataset = results()
    found = response.limit_by_sequence(dataset, "phi")
    assert dict(found.sizes) == {"sequence": SEQUENCES, "delta_j": 2 * T0}
    at = {"metric": "phi", "sequence": 3, "delta_j": T0}
    expected = dataset.linear_last_sum.sel(metric="phi")[3, T0] / T0
    assert float(found.sel({name: at[name] for name in ("sequence", "delta_j")})) == expected
    with pytest.raises(ValueError, match="linear: not in these results"):
        response.limit_by_sequence(dataset.drop_vars("linear"), "phi")


@pytest.mark.parametrize(
    ("spread", "kind", "low", "high"),
    [
        # Light tails: all are nearly right; the old ones too narrow for 32 sequences.
        (0.05, {}, 0.93, 0.97),
        (0.05, {"logarithmic": False}, 0.91, 0.95),
        # As of the angle metric: symmetric errors miss, those of logarithms less.
        (1.0, {"logarithmic": False}, 0.82, 0.89),
        (1.0, {}, 0.885, 0.935),
        (1.0, {"geometric": True}, 0.93, 0.97),
    ],
)
def test_coverage(spread, kind, low, high):
    generator = np.random.default_rng(0)
    values = response.lognormal_samples(spread, 32, 1000, generator)
    true = 1.0 if "geometric" in kind else np.exp(spread**2 / 2)
    assert low < response.coverage(values, true, generator, **kind) < high


def test_an_interval_is_that_of_student_on_its_scale():
    plain = response.Estimate(2.0, 0.1, freedom=10)
    np.testing.assert_allclose(plain.interval, [2 - 0.2228, 2 + 0.2228], atol=1e-4)
    low, high = response.Estimate(2.0, 0.1, True, 10).interval
    assert low * high == pytest.approx(4)
    assert high == pytest.approx(2 * np.exp(0.2228), rel=1e-4)


def test_a_logarithm_is_taken_only_where_all_draws_have_one():
    draws = xr.DataArray([1.0, 0.5, 0.0, 2.0], dims="resample")
    assert not response.estimate(draws, True, 9).logarithmic
    assert response.estimate(draws.where(draws > 0, 1), True, 9).logarithmic


# attention or MLPs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curve():
    """Input, attention, MLP, attention, MLP, attention, MLP."""
    kinds = ["input", *["attention", "mlp"] * 3]
    coordinates = {"position": range(7), "sublayer": ("position", kinds)}
    return xr.DataArray([0.0, 0.1, 0.1, 0.4, 0.2, 0.8, 1.6], coordinates, "position")


def test_shares_of_attention(curve):
    assert float(response.attention_share(curve, "sum")) == pytest.approx(1.0 / 1.6)
    assert float(response.attention_share(curve, "rises")) == pytest.approx(1.0 / 1.8)
    # From l = 3 on: halved, times four, doubled.
    assert float(response.attention_share(curve, "gains")) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="of='loss': not defined; use one of sum, rises, gains"):
        response.attention_share(curve, "loss")


def test_gains_add_up_to_the_logarithm(curve):
    full = curve.expand_dims(metric=["delta"], epsilon=[0.05], delta_j=[9])
    found = response.gains_at_peak(xr.Dataset({"response": full}, attrs={"distance": 9}), 0.05)
    np.testing.assert_allclose(found.sum("sublayer_kind"), np.log(curve[4:] / curve[3]))
    np.testing.assert_allclose(found.sel(sublayer_kind="attention"), np.log([1, 4, 4]))


def test_shares_at_three_distances_are_those_of_their_curves():
    dataset = results()
    found = response.attention_shares(dataset, np.random.default_rng(0), 20)
    assert found.delta_j.values.tolist() == [T0 - 1, T0, T0 - 4]
    at = {"metric": "delta", "epsilon": 0.05, "delta_j": T0}
    expected = response.attention_share(dataset.response.sel(at), "rises")
    one = found.sel(of="rises", delta_j=T0)
    assert float(one.value) == pytest.approx(float(expected))
    assert one.low <= one.value <= one.high
