"""What the shipped results must show, asserted from them and from a small fresh measurement."""

from pathlib import Path

import numpy as np
import pytest
from universal_response import Settings, load_model, load_results, measure, response
from universal_response.sequences import repeated_random_tokens

RESULTS = sorted((Path(__file__).parents[1] / "results").glob("*.nc"))
SMALL = (3e-4, 0.05)  # the range over which chi_delta follows epsilon / epsilon0


@pytest.fixture(scope="module", params=RESULTS, ids=lambda path: path.stem)
def shipped(request):
    return load_results(request.param)


@pytest.fixture(scope="module")
def smollm2():
    return load_results(RESULTS[0].with_name("smollm2-135m.nc"))


@pytest.fixture(scope="module")
def fresh():
    """One sequence at T0 = 64 with another seed than the shipped ones."""
    model = load_model("smollm2-135m", tokenizer=False)
    settings = Settings(batch=1, epsilons=(0.003, 0.03, 0.05), seed=1, noise_floor=False)
    return measure(model, settings)


def induction_peak(dataset):
    """C_delta at T0 - 1 over every other dj in the window, and over the window's median."""
    at = {
        "metric": "delta",
        "position": response.last(dataset),
        "delta_j": response.window(dataset),
    }
    near = response.at_epsilon(dataset.response.sel(at), 0.05)
    t0 = dataset.attrs["t0"]
    peak = float(near.sel(delta_j=t0 - 1))
    return peak / float(near.drop_sel(delta_j=t0 - 1).max()), peak / float(near.median())


def test_at_least_two_models_are_shipped():
    assert {"smollm2-135m", "gemma-3-270m"} <= {path.stem for path in RESULTS}


def test_shipped_scale(shipped):
    assert shipped.attrs["t0"] == 64
    assert shipped.attrs["batch"] >= 4
    epsilons = shipped.epsilon.values
    assert len(epsilons) >= 8
    assert {3e-4, 0.03, 0.05, 0.3} <= set(epsilons)


def test_shipped_provenance_is_complete(shipped):
    assert all(str(value) not in ("", "unknown") for value in shipped.attrs.values())
    expected = {
        "schema_version", "model", "weights_sha256", "quantisation", "t0", "batch", "epsilon0",
        "seed", "dtype", "device", "versions", "git_commit", "wall_time_s", "created",
    }  # fmt: skip
    assert expected <= set(shipped.attrs)


def test_shipped_files_are_small():
    assert all(path.stat().st_size < 4 * 2**20 for path in RESULTS)


def test_shipped_tokens_are_those_of_the_seed(shipped):
    batch, t = shipped.tokens.shape
    vocabulary = {"smollm2-135m": 49152, "gemma-3-270m": 262144}[shipped.attrs["model"]]
    generator = np.random.default_rng(shipped.attrs["seed"])
    expected = repeated_random_tokens(t // 2, batch, vocabulary, generator)
    np.testing.assert_array_equal(shipped.tokens, expected)


def test_matrix_and_response_tell_the_same(shipped):
    at = {"position": response.last(shipped)}
    function = response.at_epsilon(shipped.response.sel(at), shipped.attrs["epsilon0"])
    for metric in shipped.metric.values:
        matrix = shipped.matrix.sel(metric=metric).values
        diagonals = [np.diagonal(matrix, k).mean() for k in range(len(matrix))]
        np.testing.assert_allclose(diagonals, function.sel(metric=metric), rtol=1e-4, atol=1e-5)


@pytest.mark.weights
def test_peak_before_the_repeated_token(smollm2, fresh):
    for dataset in (smollm2, fresh):
        over_next, over_median = induction_peak(dataset)
        assert over_next > 1
        assert over_median > 3


@pytest.mark.weights
def test_early_layers_answer_at_the_same_token(smollm2, fresh):
    for dataset in (smollm2, fresh):
        early = dataset.response.sel(metric="delta", delta_j=response.window(dataset))
        early = response.at_epsilon(early, 0.05).isel(position=slice(6, 19))
        assert set(early.idxmax("delta_j").values) == {dataset.attrs["t0"]}


@pytest.mark.weights
def test_scaling_function_is_linear_for_small_epsilon(smollm2, fresh):
    for dataset in (smollm2, fresh):
        deviation = response.relative_deviation(dataset, "delta", 0.03)["mean"]
        assert abs(deviation.sel(epsilon=slice(*SMALL))).max() < 0.06


def test_onset_lies_inside_every_model(shipped):
    onset = response.induction_onset(shipped, 0.05)
    assert onset.position is not None
    assert 0.1 < onset.position / response.last(shipped) < 0.9
