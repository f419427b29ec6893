"""Response functions against a plain loop, and what is read off results with known answers."""

import numpy as np
import plain
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from universal_response import response

METRICS = ["delta", "phi", "theta_source", "theta_state", "theta_perturbation"]
EPSILONS = [0.001, 0.01, 0.05, 0.3]
EPSILON0 = 0.05
T0 = 8
LAYERS = 2
SUBLAYERS = ["input", *["attention", "mlp"] * LAYERS]
DIMS = ("metric", "epsilon", "position", "delta_j")


def synthetic(values, sem=0.0, floor=None):
    """Results with these response values, broadcast to (metric, epsilon, position, delta_j)."""
    shape = (len(METRICS), len(EPSILONS), len(SUBLAYERS), 2 * T0)
    variables = {
        "response": (DIMS, np.broadcast_to(values, shape).astype(float).copy()),
        "response_sem": (DIMS, np.broadcast_to(sem, shape).astype(float).copy()),
    }
    if floor is not None:
        variables["floor"] = (
            ("metric", "position", "delta_j"),
            np.broadcast_to(floor, (shape[0], *shape[2:])).astype(float).copy(),
        )
    coordinates = {
        "metric": METRICS,
        "epsilon": EPSILONS,
        "position": range(len(SUBLAYERS)),
        "layer": ("position", [0, 0, 0, 1, 1]),
        "sublayer": ("position", SUBLAYERS),
        "delta_j": range(2 * T0),
    }
    return xr.Dataset(variables, coordinates, {"t0": T0})


def power_laws():
    """C = epsilon^power times a profile in (position, delta_j) that a power law does not see."""
    rng = np.random.default_rng(0)
    profile = rng.uniform(0.5, 2, size=(len(METRICS), 1, len(SUBLAYERS), 2 * T0))
    power = np.array([1, 2, 0, 0, 0])[:, None, None, None]
    return synthetic(np.array(EPSILONS)[None, :, None, None] ** power * profile)


# response functions ------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 1000),
    t=st.integers(1, 12),
    batch=st.lists(st.integers(1, 3), max_size=3),
)
def test_response_function_is_the_mean_along_diagonals(seed, t, batch):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(*batch, t, t, generator=generator, dtype=torch.float64)
    found = response.response_function(matrix)
    assert found.shape == (*batch, t)
    torch.testing.assert_close(found, plain.response_function(matrix))


@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_entries_left_of_the_source_are_ignored(garbage):
    matrix = torch.arange(25.0).reshape(1, 5, 5)
    spoiled = torch.where(torch.ones(5, 5).triu().bool(), matrix, torch.tensor(garbage))
    expected = plain.response_function(matrix)
    torch.testing.assert_close(response.response_function(spoiled), expected)


def test_response_function_does_not_change_its_argument_and_takes_views():
    matrix = torch.randn(4, 6, 6, generator=torch.Generator().manual_seed(0))
    view = matrix.transpose(-1, -2)
    before = matrix.clone()
    torch.testing.assert_close(response.response_function(view), plain.response_function(view))
    assert torch.equal(matrix, before)


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


# noise -------------------------------------------------------------------------------------------


def test_noise_of_each_metric():
    """Floors 1e-6 (delta) and 1e-12 (phi) under responses 0.01 and 4e-4."""
    per_metric = np.array([0.01, 4e-4, 0.5, 0.5, 0.5])[:, None, None, None]
    floor = np.array([1e-6, 1e-12, 0.7, 0.7, 0.7])[:, None, None]
    dataset = synthetic(per_metric, floor=floor)
    found = response.noise(dataset)
    assert found.dims == DIMS
    assert found.shape == dataset.response.shape
    assert found.metric.values.tolist() == METRICS
    expected = [1e-6, 1e-12 + 2 * np.sqrt(1e-12 * 4e-4), 1e-4, 1e-4, 1e-4]
    for metric, value in zip(METRICS, expected, strict=True):
        np.testing.assert_allclose(found.sel(metric=metric), value)


def test_noise_keeps_large_floors_and_raises_small_ones_to_the_median():
    floor = np.full(2 * T0, 1e-6)
    floor[3], floor[5] = 1e-9, 1e-4
    found = response.noise(synthetic(0.01, floor=floor)).sel(metric="delta", epsilon=0.05)
    assert found.isel(position=1, delta_j=3) == pytest.approx(1e-6)
    assert found.isel(position=1, delta_j=5) == pytest.approx(1e-4)


def test_noise_of_a_cosine_is_at_most_two_and_none_where_nothing_responds():
    dataset = synthetic(1e-9, floor=1e-6)
    dataset.response.loc[{"delta_j": 4}] = 0
    found = response.noise(dataset).sel(metric="theta_source")
    assert float(found.max()) == 2
    assert (found.sel(delta_j=4) == 0).all()


def test_noise_needs_a_floor():
    with pytest.raises(ValueError, match=r"\Afloor[^\n]*\Z"):
        response.noise(synthetic(1.0))
