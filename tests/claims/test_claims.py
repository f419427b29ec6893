"""Claims and what they rest on, against results made to keep or break each of them."""

import made_up_heads
import numpy as np
import pytest
import xarray as xr
from made_up import EPSILONS, POSITIONS, POWERS, SEQUENCES, T0, results
from scipy import stats
from universal_response import claims, response
from universal_response.claims import quantities
from universal_response.claims.verdicts import _by_chance


def evaluated(dataset, n_resamples=50):
    return claims.evaluate_claims({"made up": dataset}, np.random.default_rng(0), n_resamples)[
        "made up"
    ]


def verdicts(dataset):
    """Of statements, with arithmetic means."""
    found = evaluated(dataset)
    return {one.claim.statement: one.verdict for one in found if one.claim.average != "geometric"}


def broken(dataset):
    return {
        statement for statement, verdict in verdicts(dataset).items() if verdict == claims.FAILS
    }


def about(words):
    (found,) = {claim.statement for claim in claims.CLAIMS if words in claim.statement}
    return found


def test_a_model_that_keeps_every_claim():
    assert broken(results()) == set()
    found = verdicts(results())
    with_value = [claim for claim in claims.CLAIMS if claim.evaluate and claim.holds]
    assert all(found[claim.statement] == claims.HOLDS for claim in with_value)


def test_peak_at_the_same_token():
    found = broken(results(peak=T0))
    assert {about("the response near the repeat peaks"), about("the same peak")} <= found
    assert about("From intermediate layers") in found


def test_another_power_of_epsilon():
    found = broken(results(power=POWERS * 1.1))
    assert {about("in proportion to ε"), about("ε squared")} <= found
    assert about("lengths scale by a number") not in found


def test_ratios_that_depend_on_the_distance():
    found = broken(results(tilt=3.0))
    assert {about("lengths scale by a number"), about("angle metrics scale by a number")} <= found


def test_the_part_of_attention_is_its_share_of_the_sum():
    dataset = results()
    means = response.resample(dataset, 5, np.random.default_rng(0))
    peak = response.at_epsilon(means.peak_mean.sel(metric="delta"), dataset.attrs["epsilon0"])
    found = quantities.attention("delta")(dataset, means)
    # Summed and divided in another order.
    np.testing.assert_allclose(found, response.attention_share(peak, "sum"), rtol=1e-12)


def test_an_onset_in_the_last_layers():
    assert about("From intermediate layers") in broken(results(onset=19))


def test_a_sudden_shift():
    dataset = results()
    window = dataset.window_sum
    early = window.isel(position=5)
    sudden = xr.where(window.position < 11, early, window.isel(position=-1))
    dataset["window_sum"] = sudden.transpose(*window.dims)
    assert about("gradual") in broken(dataset)


def test_curvature_ends_the_linear_regime_where_it_should():
    by = {one.claim.statement: one for one in evaluated(results(curvature=1.0), 20)}
    ends = by[about("length ends where it is 5 % off, at")].estimate.value
    assert ends == pytest.approx(0.05, rel=1e-6)
    assert by[about("exact linear limit")].estimate.value == pytest.approx(0.003, rel=1e-6)


def test_a_bound_within_two_errors_is_undecided():
    dataset = results()
    scatter = np.random.default_rng(3).normal(0, 0.4, SEQUENCES)
    last = dataset.last_sum
    shown = last.delta_j == T0 - 1
    # At T0 - 1 no higher than its neighbours, but for the scatter of the sequences.
    other = last.isel(delta_j=3) * (dataset.n_pairs / dataset.n_pairs.isel(delta_j=3))
    flat = xr.where(shown, other * xr.DataArray(1 + scatter, dims="sequence"), last)
    dataset["last_sum"] = flat.transpose(*last.dims)
    assert verdicts(dataset)[about("the response near the repeat peaks")] == claims.UNDECIDED


@pytest.mark.parametrize("change", ["one sequence", "no weak strength"])
def test_nothing_is_testable_without_error_or_weak_strengths(change):
    if change == "one sequence":
        dataset = results(sequences=1)
    else:
        dataset = results().sel(epsilon=[0.1, 0.3])
    assert set(verdicts(dataset).values()) == {claims.UNTESTED}


def test_the_reference_strength_alone_tests_no_comparison_with_it():
    found = verdicts(results().sel(epsilon=[0.05, 0.1, 0.3]))
    compared = (
        "in proportion to ε",
        "lengths scale by a number",
        "One number serves all layers, for the length",
        "two orders of magnitude",
    )
    for words in compared:
        assert found[about(words)] == claims.UNTESTED
    assert found[about("the response near the repeat peaks")] == claims.HOLDS


def test_the_limit_is_compared_at_the_strength_that_the_claim_names():
    found = verdicts(results().drop_sel(epsilon=0.003))
    assert found[about("exact linear limit")] == claims.UNTESTED


@pytest.mark.parametrize(
    ("value", "error", "logarithmic", "errors"),
    [
        (0.5, 0.05, False, 5.0),  # both sides equally far
        (0.3, 0.05, False, 1.0),  # the nearer one
        (0.9, 0.05, False, 3.0),  # beyond
        (0.5, 0.1, True, np.log(1.5) / 0.1),  # up to .75: nearer on a logarithmic scale
    ],
)
def test_the_chance_to_be_on_this_side_of_a_bound(value, error, logarithmic, errors):
    (claim,) = (
        one
        for one in claims.CLAIMS
        if one.holds and one.source == "abstract, Fig. 4" and one.average == "arithmetic"
    )  # between .25 and .75
    estimate = response.Estimate(value, error, logarithmic, 11)
    assert _by_chance(claim.holds, estimate) == pytest.approx(stats.t.sf(errors, 11), rel=0.1)


@pytest.mark.parametrize("metrics", [["delta"], ["delta", "phi"]])
def test_the_threshold_is_that_of_all_verdicts_together(metrics):
    """A lead of two errors is enough where all else is sure, and not where another is as weak."""
    dataset = results()
    scatter = np.random.default_rng(0).normal(0, 1, SEQUENCES)
    scatter = (scatter - scatter.mean()) / scatter.std(ddof=1)
    lead = 1 + 0.02 * (1.9 / np.sqrt(SEQUENCES) + scatter)
    pairs = dataset.n_pairs.isel(sequence=0)
    for metric in metrics:
        other = dataset.last_sum.sel(metric=metric, delta_j=3) / pairs[3] * pairs[T0 - 1]
        dataset["last_sum"].loc[{"metric": metric, "delta_j": T0 - 1}] = other * lead
    leads = {about("near the repeat peaks"), about("same peak")}
    found = [one for one in evaluated(dataset, 400) if one.claim.statement in leads]
    weak = [one for one in found if one.claim.average == "arithmetic" and one.p > 0.001]
    assert len(weak) == len(metrics)
    assert all(0.025 < one.p < 0.05 for one in weak)
    expected = claims.HOLDS if len(metrics) == 1 else claims.UNDECIDED
    assert {one.verdict for one in weak} == {expected}


def test_both_means_are_tested_and_part_where_one_sequence_prevails():
    """In the first sequence the response is a hundred times larger and has no peak."""
    dataset = results()
    n = dataset.n_pairs.isel(sequence=0).values
    for name, flat in (("last_sum", n), ("last_log_sum", 0 * n)):
        dataset[name].loc[{"metric": "delta", "sequence": 0}] = flat
    found = {
        one.claim.average: one.verdict for one in evaluated(dataset) if one.claim in claims.PEAKS
    }
    assert found == {"arithmetic": claims.UNDECIDED, "geometric": claims.HOLDS}


@pytest.mark.parametrize(("position", "fails"), [(2, False), (3, True)])
def test_layers_are_compared_from_the_second_attention_sublayer_on(position, fails):
    """Before it nothing but a norm's constant responds, and may do so by another law."""
    dataset = results()
    other = dataset.peak_sum.copy()
    other.loc[{"metric": "delta", "position": position}] *= (EPSILONS / 0.05)[:, None] ** 3
    other.loc[{"metric": "theta_source", "position": position}] *= (EPSILONS / 0.05)[:, None] ** 3
    dataset["peak_sum"] = other
    found = broken(dataset)
    assert (about("One number serves all layers, for the length") in found) == fails


def test_the_table_has_a_row_for_each_claim_and_a_column_for_each_model():
    findings = evaluated(results(), 20)
    table = claims.table({"a": findings, "b": findings})
    assert len(table) == len(claims.CLAIMS)
    assert list(table.columns) == ["statement", "source", "average", "a", "b", "tested by"]
    values = [text for text in table["a"] if text != claims.UNTESTED]
    assert all(" to " in text and "): " in text for text in values)


def test_statements_are_distinct_and_cover_every_figure():
    assert len({(one.statement, one.average) for one in claims.CLAIMS}) == len(claims.CLAIMS)
    sources = " ".join(claim.source for claim in claims.CLAIMS)
    assert all(f"Fig. {number}" in sources for number in (2, 3, 4, 5))


def test_what_is_undecided_is_told_with_the_sequences_it_needs():
    estimate = response.Estimate(1.2, 0.2, freedom=31)
    open_one = claims.Finding(claims.PEAKS[0], estimate, claims.UNDECIDED, p=stats.norm.sf(1.0))
    settled = claims.Finding(claims.PEAKS[1], estimate, claims.HOLDS, p=1e-6)
    found = claims.undecided({"a": [open_one, settled, open_one]}, {"a": results()})
    assert found.model.tolist() == ["a", "a"]
    assert found.average.tolist() == ["arithmetic"] * 2
    # Two are open: the first would be accepted at 2.5 %, 1.96 errors.
    assert found.sequences.tolist() == [int(np.ceil(SEQUENCES * 1.959964**2))] * 2


def test_counts_keep_apart_what_could_have_failed():
    said = claims.counts(evaluated(results(tilt=3.0)))
    assert said.startswith("of what could have failed 11 of 11 hold, 0 do not")
    assert "of what follows from smoothness 5 of 14 hold, 9 do not and 0 stay undecided" in said


def test_in_brief_says_what_was_measured():
    dataset = results().assign_attrs(seed=0, dtype="float32")
    findings = {"made up": evaluated(dataset)}
    sentences = claims.in_brief({"made up": dataset}, findings, {"made up": made_up_heads.study()})
    text = " ".join(sentences)
    assert len(sentences) == 5
    assert "leads by a factor of 11 (11 to 11) (made up)" in text
    onset = response.induction_onset(dataset, 0.05)
    assert f"position $\\ell$ = {onset.first} of 20, and for good from {onset.position} on" in text
    assert "logit of the right token leads by 1.0 instead of 10.0" in text
    assert "is 2.0 nats a token, on as late tokens that do not repeat 14.0" in text
    assert "12 sequences of 20 tokens" in text


# what they rest on -------------------------------------------------------------------------------


def test_bootstrap_error_of_a_mean_is_its_standard_error():
    dataset = results(sequences=200)
    means = response.resample(dataset, 2000, np.random.default_rng(0))
    at = {"metric": "delta", "delta_j": 3}
    found = response.estimate(means.last_mean.sel(at).isel(epsilon=0))
    of_sequences = (dataset.last_sum / dataset.n_pairs).sel(at).isel(epsilon=0)
    assert found.value == pytest.approx(float(of_sequences.mean()), rel=1e-12)
    assert found.error == pytest.approx(float(of_sequences.std(ddof=1)) / np.sqrt(200), rel=0.06)


def test_bootstrap_keeps_sequences_together():
    means = response.resample(results(), 50, np.random.default_rng(0))
    last = means.last_mean.sel(metric="delta")
    ratio = response.estimate((last.isel(epsilon=0) / last.isel(epsilon=3)).mean("delta_j"))
    assert ratio.error < 1e-12


def test_bootstrap_of_one_sequence_has_no_error():
    means = response.resample(results(sequences=1), 5, np.random.default_rng(0))
    found = response.estimate(means.last_mean.sel(metric="delta").isel(epsilon=0, delta_j=3))
    assert np.isnan(found.error)
    assert found.value > 0


def test_bootstrap_depends_on_the_generator_alone():
    first, again, other = (
        response.resample(results(), 5, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert first.identical(again)
    assert not first.identical(other)


def test_higher_orders_of_a_known_series():
    epsilon = xr.DataArray(EPSILONS, dims="epsilon", coords={"epsilon": EPSILONS})
    b = xr.DataArray([2.0, -1.0], dims="delta_j")
    c = xr.DataArray([-5.0, 3.0], dims="delta_j")
    found_b, found_c = response.higher_orders(1 + b * epsilon + c * epsilon**2)
    np.testing.assert_allclose(found_b, b, rtol=1e-9)
    np.testing.assert_allclose(found_c, c, rtol=1e-9)
    # Strengths above the largest do not enter.
    bent = xr.where(epsilon > 0.1, 9.0, 1 + b * epsilon)
    np.testing.assert_allclose(response.higher_orders(bent)[0], b, rtol=1e-9)
    single = (1 + b * epsilon).sel(epsilon=[0.3])
    assert np.isnan(response.higher_orders(single)[0]).all()


def test_largest_epsilon():
    deviation = xr.DataArray(
        [[0.0, 0.01, -0.09, 0.2], [0.0, 0.0, 0.0, 0.01], [0.06, 0.0, 0.0, 0.0]],
        dims=("case", "epsilon"),
        coords={"epsilon": [1e-3, 1e-2, 1e-1, 1.0]},
    )
    found = response.largest_epsilon(deviation).values
    assert found[0] == pytest.approx(10**-1.5)  # half way between 0.01 and 0.09 in log epsilon
    assert found[1] == 1.0
    assert np.isnan(found[2])


def test_onset_of_many_windows_is_that_of_each():
    dataset = results()
    means = response.resample(dataset, 5, np.random.default_rng(0))
    shown = means.window_mean.sel(metric="delta").rename(window="delta_j")
    onset = response.induction_onset(dataset, 0.05).position
    assert onset is not None
    np.testing.assert_array_equal(response.onset_position(shown, T0), onset)
    never = shown.copy(data=np.zeros(shown.shape))
    assert np.isnan(response.onset_position(never, T0)).all()


def test_increments_error_is_that_of_pairs():
    dataset = results()
    # A common factor a sequence: neighbouring positions scatter together, their difference less.
    peak = dataset.peak_sum / response.pairs_at(dataset, "peak")
    steps = peak.sel(metric="delta", epsilon=0.05).diff("position")
    expected = steps.std("sequence", ddof=1) / np.sqrt(SEQUENCES)
    found = response.increments_error(dataset, "delta", 0.05)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert float(found[-1]) < 1e-12
    assert np.isnan(response.increments_error(results(sequences=1), "delta", 0.05)).all()


@pytest.mark.parametrize("metric", ["delta", "phi"])
def test_linear_ratio(metric):
    power = {"delta": 1, "phi": 2}[metric]
    dataset = results(curvature=2.0)
    found = response.last_ratio(dataset, metric) - 1
    expected = (2 * EPSILONS)[:, None] * np.ones(2 * T0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    at = {"metric": metric, "position": POSITIONS - 1}
    ratio = response.linear_ratio(dataset.response.sel(at), dataset.linear.sel(at), metric)
    expected = dataset.response.sel(at) / EPSILONS[:, None] ** power / dataset.linear.sel(at)
    np.testing.assert_allclose(ratio, expected, rtol=1e-12)


def test_a_limit_that_was_not_measured():
    with pytest.raises(ValueError, match="linear: not in these results"):
        response.last_ratio(results().drop_vars("linear"), "delta")
