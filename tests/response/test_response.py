"""What is read off results with known answers, and means and errors against simulations."""

import numpy as np
import pytest
import xarray as xr
from made_up import results
from universal_response import metrics, response

METRICS = list(metrics.METRICS)
EPSILONS = [0.001, 0.01, 0.05, 0.3]
EPSILON0 = 0.05
T0 = 8
LAYERS = 2
SUBLAYERS = ["input", *["attention", "mlp"] * LAYERS]
DIMS = ("metric", "epsilon", "position", "delta_j")


def synthetic(values, sem=0.0):
    """Results with these response values, broadcast to (metric, epsilon, position, delta_j)."""
    shape = (len(METRICS), len(EPSILONS), len(SUBLAYERS), 2 * T0)
    variables = {
        "response": (DIMS, np.broadcast_to(values, shape).astype(float).copy()),
        "response_sem": (DIMS, np.broadcast_to(sem, shape).astype(float).copy()),
    }
    coordinates = {
        "metric": METRICS,
        "epsilon": EPSILONS,
        "position": range(len(SUBLAYERS)),
        "layer": ("position", [0, 0, 0, 1, 1]),
        "sublayer": ("position", SUBLAYERS),
        "delta_j": range(2 * T0),
    }
    return xr.Dataset(variables, coordinates, {"t0": T0, "distance": T0 - 1})


def power_laws():
    """C = epsilon^power times a profile in (position, delta_j) that a power law does not see."""
    rng = np.random.default_rng(0)
    profile = rng.uniform(0.5, 2, size=(len(METRICS), 1, len(SUBLAYERS), 2 * T0))
    power = np.array([response.POWER[name] for name in METRICS])[:, None, None, None]
    return synthetic(np.array(EPSILONS)[None, :, None, None] ** power * profile)


# scaling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "power"), [("delta", 1), ("phi", 2), ("theta_source", 0), ("theta_state", 0)]
)
def test_scaling_function_of_exact_power_laws(metric, power):
    dataset = power_laws()
    expected = (np.array(EPSILONS) / EPSILON0) ** power
    chi = response.scaling_function(dataset, metric, EPSILON0)
    np.testing.assert_allclose(chi["mean"], expected)
    np.testing.assert_allclose(chi["spread"], 0, atol=1e-12)
    np.testing.assert_allclose(response.theory(metric, dataset.epsilon, EPSILON0), expected)
    deviation = response.relative_deviation(dataset, metric, EPSILON0)
    np.testing.assert_allclose(deviation["mean"], 0, atol=1e-12)


def test_relative_deviation_of_a_known_departure():
    """C_delta = epsilon (1 + epsilon): deviation (1 + epsilon) / (1 + epsilon0) - 1."""
    epsilon = np.array(EPSILONS)
    dataset = synthetic((epsilon * (1 + epsilon))[None, :, None, None])
    found = response.relative_deviation(dataset, "delta", EPSILON0)["mean"]
    np.testing.assert_allclose(found, (1 + epsilon) / (1 + EPSILON0) - 1, atol=1e-12)
    assert found.dims == ("epsilon",)


def test_scaling_uses_the_last_position_and_averages_over_delta_j():
    dataset = power_laws()
    dataset.response[:, :, :-1] = 77.0
    np.testing.assert_allclose(
        response.scaling_function(dataset, "delta", EPSILON0)["mean"], np.array(EPSILONS) / EPSILON0
    )
    # Twice too large at half of the dj, at one strength.
    dataset.response.loc[{"epsilon": 0.3, "position": 4, "delta_j": slice(0, T0 - 1)}] *= 2
    chi = response.scaling_function(dataset, "delta", EPSILON0).sel(epsilon=0.3)
    assert float(chi["mean"]) == pytest.approx(6 * 1.5)
    assert float(chi["spread"]) == pytest.approx(6 * 0.5)


def test_at_epsilon():
    array = power_laws().response
    xr.testing.assert_equal(response.at_epsilon(array, 0.01), array.isel(epsilon=1))
    xr.testing.assert_equal(response.at_epsilon(array, 0.01 * (1 + 1e-9)), array.isel(epsilon=1))
    with pytest.raises(ValueError, match=r"\Aepsilon=0\.02 [^\n]*0\.001, 0\.01, 0\.05, 0\.3\Z"):
        response.at_epsilon(array, 0.02)
    with pytest.raises(ValueError, match=r"\Aepsilon=0\.02 "):
        response.scaling_function(power_laws(), "delta", 0.02)


# increments --------------------------------------------------------------------------------------


def test_increments_of_a_known_staircase():
    values = np.array([1.0, 2.0, 4.0, 4.5, 9.0])[None, None, :, None]
    dataset = synthetic(values)
    steps = response.increments(dataset.response, "delta", normalise=False)
    assert steps.position.values.tolist() == [1, 2, 3, 4]
    assert steps.sublayer.values.tolist() == ["attention", "mlp", "attention", "mlp"]
    np.testing.assert_allclose(steps.isel(metric=0, epsilon=0, delta_j=0), [1, 2, 0.5, 4.5])
    normalised = response.increments(dataset.response, "phi")
    np.testing.assert_allclose(
        normalised.isel(metric=0, epsilon=0, delta_j=0) * 8, [1, 2, 0.5, 4.5]
    )


@pytest.mark.parametrize("normalise", [True, False])
def test_increments_of_a_cosine_begin_where_another_token_can_respond(normalise):
    values = np.array([0.0, -0.4, -0.2, 0.1, 0.3])[None, None, :, None]
    dataset = synthetic(values)
    steps = response.increments(dataset.response, "theta_source", normalise)
    np.testing.assert_allclose(
        steps.isel(metric=0, epsilon=0, delta_j=0), [0, 0, 0.1, 0.2], atol=1e-15
    )


def test_increments_of_a_cosine_in_parallel_blocks():
    """The second block is the first that can pass anything on."""
    array = xr.DataArray(
        [0.0, 0.5, 0.2, 0.3],
        coords={"position": range(4), "sublayer": ("position", ["input", *3 * ["block"]])},
        dims="position",
    )
    np.testing.assert_allclose(response.increments(array, "theta_state"), [0, 0.2, 0.1])


def test_increments_normalise_to_one_and_totals_sum_to_the_total():
    dataset = power_laws()
    steps = response.increments(dataset.response, "delta")
    np.testing.assert_allclose(steps.sum("position"), 1)
    totals = response.sublayer_totals(steps)
    assert totals.sublayer.values.tolist() == ["attention", "mlp"]
    np.testing.assert_allclose(totals.sum("sublayer"), 1)
    expected = steps.sel(position=[1, 3]).sum("position")
    np.testing.assert_allclose(totals.sel(sublayer="attention").transpose(*expected.dims), expected)
    plain_steps = response.increments(dataset.response, "delta", normalise=False)
    ends = dataset.response.isel(position=-1) - dataset.response.isel(position=0)
    found = response.sublayer_totals(plain_steps).sum("sublayer").transpose(*ends.dims)
    np.testing.assert_allclose(found, ends)


# induction onset ---------------------------------------------------------------------------------


def peaks(places, heights=None):
    """Response 1 everywhere, with a peak at one dj for each position."""
    values = np.ones((len(SUBLAYERS), 2 * T0))
    for position, place in enumerate(places):
        values[position, place] = 2 if heights is None else heights[position]
    return values


def onset(values, sem=1e-6):
    return response.induction_onset(synthetic(values, sem), epsilon=0.05)


@pytest.mark.parametrize(
    ("t0", "expected"),
    [(T0, range(T0 - 5, T0 + 6)), (64, range(59, 70)), (3, range(6)), (2, range(4))],
)
def test_window_is_cut_at_the_ends(t0, expected):
    assert response.window(t0).tolist() == list(expected)


def test_window_of_another_width():
    assert response.window(T0, 2).tolist() == [6, 7, 8, 9, 10]


def test_window_in_a_sequence_of_any_length():
    assert response.window(20, t=23).tolist() == list(range(15, 23))
    assert response.window(20, t=64).tolist() == list(range(15, 26))


def test_onset_is_where_the_peak_is_expected():
    """A gap between the blocks moves the peak, and `distance` says so."""
    shifted = synthetic(peaks([T0 + 2, T0 + 1, T0 + 1, T0 + 1, T0 + 1]), 1e-6)
    assert response.induction_onset(shifted, epsilon=0.05).position is None
    found = response.induction_onset(shifted.assign_attrs(distance=T0 + 1), epsilon=0.05)
    assert found.position == 1


def test_no_onset_where_no_peak_is_expected():
    dataset = synthetic(1.0).assign_attrs(distance="none")
    with pytest.raises(ValueError, match=r"\Adistance: [^\n]*\Z"):
        response.induction_onset(dataset, epsilon=0.05)


def test_onset_is_the_first_position_from_which_the_peak_stays():
    found = onset(peaks([T0, T0 - 1, T0, T0 - 1, T0 - 1]))
    assert (found.position, found.resolved) == (3, 3)
    assert found.peak.values.tolist() == [T0, T0 - 1, T0, T0 - 1, T0 - 1]


def test_onset_never():
    found = onset(peaks([T0 - 1] * 4 + [T0]))
    assert (found.position, found.resolved) == (None, None)


def test_onset_from_the_start():
    found = onset(peaks([T0 - 1] * 5))
    assert (found.position, found.resolved) == (0, 0)


def test_a_tie_is_not_at_the_token_before():
    values = peaks([T0 - 1] * 5)
    values[2, T0] = values[2, T0 - 1]
    assert onset(values).position == 3


def test_what_lies_outside_the_window_does_not_matter():
    values = peaks([T0 - 1] * 5)
    values[:, [0, 1, 2, T0 + 6, T0 + 7]] = 100
    assert onset(values).position == 0
    values[:, T0 + 5] = 100
    assert onset(values).position is None


def test_a_lead_within_the_noise_is_not_resolved():
    values = peaks([T0, T0 - 1, T0 - 1, T0 - 1, T0 - 1], heights=[2, 1.1, 1.1, 2, 2])
    # Lead 0.1 at l = 1, 2 and 1 after, against 2 * sqrt(2) * 0.1 = 0.28.
    found = onset(values, sem=0.1)
    assert (found.position, found.resolved) == (1, 3)
    assert onset(values, sem=1e-3).resolved == 1
    assert onset(values, sem=0.5).resolved is None


def test_a_single_sequence_resolves_nothing():
    found = onset(peaks([T0 - 1] * 5), sem=np.nan)
    assert (found.position, found.resolved) == (0, None)


def test_onset_of_a_strength_that_was_not_measured():
    with pytest.raises(ValueError, match=r"\Aepsilon=0\.2 "):
        response.induction_onset(synthetic(1.0), epsilon=0.2)


# means over pairs --------------------------------------------------------------------------------


def drawn_sums(generator, mean=1.0, between=0.5, within=1.0, heavy=False, **shape):
    """Sums over 1 to 6 pairs of each sequence, with a level of its own, and numbers of pairs."""
    sizes = tuple(shape.values())
    n = generator.integers(1, 7, size=sizes)
    level = between * generator.normal(size=sizes)
    pairs = mean + level[..., None] + within * generator.normal(size=(*sizes, 6))
    if heavy:
        pairs = np.exp(pairs)
    taken = np.arange(6) < n[..., None]
    logs = np.log(pairs) if heavy else pairs
    found = ((pairs * taken).sum(-1), n, (logs * taken).sum(-1))
    return [xr.DataArray(values, dims=tuple(shape)) for values in found]


def test_mean_over_pairs_is_that_of_all_pairs():
    sums = xr.DataArray([[6.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dims=("place", "sequence"))
    n = xr.DataArray([[3, 1, 0], [0, 0, 0]], dims=("place", "sequence"))
    found = response.mean_over_pairs(sums, n)
    assert float(found[0]) == 7 / 4
    assert np.isnan(found[1])


def test_error_with_equal_numbers_is_that_of_the_mean():
    means = np.random.default_rng(0).normal(size=9)
    n = xr.DataArray(np.full(9, 5), dims="sequence")
    found = response.error_over_pairs(xr.DataArray(5 * means, dims="sequence"), n)
    assert float(found) == pytest.approx(means.std(ddof=1) / 3, rel=1e-12)


def test_error_with_unequal_numbers_is_what_repetitions_scatter():
    sums, n, _ = drawn_sums(np.random.default_rng(1), repetition=2000, sequence=32)
    values, errors = (of(sums, n) for of in (response.mean_over_pairs, response.error_over_pairs))
    assert values.shape == errors.shape == (2000,)
    assert np.mean(values) == pytest.approx(1, abs=0.01)
    assert np.mean(errors) == pytest.approx(float(np.std(values)), rel=0.05)


def test_no_error_without_two_sequences():
    n = xr.DataArray([0, 4, 0], dims="sequence")
    sums = xr.DataArray([0.0, 3.0, 0.0], dims="sequence")
    assert np.isnan(response.error_over_pairs(sums, n))
    assert np.isnan(response.geometric_over_pairs(sums, n)[1])
    assert float(response.mean_over_pairs(sums, n)) == 0.75


def test_bootstrap_with_unequal_numbers_has_the_same_error():
    generator = np.random.default_rng(2)
    sums, n, logs = drawn_sums(generator, sequence=60, heavy=True)
    dataset = xr.Dataset(
        {
            "last_sum": sums.expand_dims(delta_j=[0]),
            "last_log_sum": logs.expand_dims(delta_j=[0]),
            "last_log_n": n.expand_dims(delta_j=[0]),
            "n_pairs": n.expand_dims(delta_j=[0]),
        }
    )
    means = response.resample(dataset, 3000, np.random.default_rng(0))
    found = response.estimate(means.last_mean.isel(delta_j=0))
    assert found.value == pytest.approx(float(response.mean_over_pairs(sums, n)), rel=1e-12)
    assert found.error == pytest.approx(float(response.error_over_pairs(sums, n)), rel=0.1)
    mean, error = response.geometric_over_pairs(logs, n)
    found = response.estimate(means.last_geometric.isel(delta_j=0))
    assert found.value == pytest.approx(float(mean), rel=1e-12)
    assert found.error == pytest.approx(float(error), rel=0.1)


def test_geometric_mean_averages_logarithms_in_each_sequence_first():
    two, eight = np.log((2.0, 8.0))
    logs = xr.DataArray([[3 * two, eight, 0.0], [0.0, 0.0, 0.0]], dims=("x", "sequence"))
    n = xr.DataArray([[3, 1, 0], [0, 0, 0]], dims=("x", "sequence"))
    mean, error = response.geometric_over_pairs(logs, n)
    assert float(mean[0]) == pytest.approx(4.0)
    # Two sequences at log 2 and log 8: their mean is log 4 +- log 2.
    assert float(error[0]) == pytest.approx(4 * np.log(2.0))
    assert np.isnan(mean[1])
    assert np.isnan(error[1])


def test_errors_over_sequences_from_sums_with_a_peak():
    dataset = results()
    n = response.pairs_at(dataset, "peak")
    assert n.dims == ("sequence",)
    at = {"metric": "delta", "epsilon": 0.05, "position": 20}
    found = response.mean_over_pairs(dataset.peak_sum.sel(at), n)
    expected = dataset.response.sel(at, drop=True).sel(delta_j=dataset.attrs["distance"])
    assert float(found) == pytest.approx(float(expected), rel=1e-12)
    window = response.pairs_at(dataset, "window")
    assert window.dims == ("sequence", "window")
    np.testing.assert_array_equal(window[0], 20 - dataset.window)
