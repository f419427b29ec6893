"""The explorer's data: what a browser reads is what the results files hold."""

from pathlib import Path

import made_up
import numpy as np
import pytest
from scripts import unpacked, value_of
from shipped import shipped_results
from universal_response import REGISTRY, figures, response
from universal_response.companion import explorer

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
MODELS = sorted(path.stem for path in RESULTS.glob("*.nc") if path.stem in REGISTRY)
MAIN = ("smollm2-135m", "gemma-3-270m")
DIMS = ("metric", "epsilon", "position", "delta_j")


def small(**changes):
    """Made-up results of a few layers, with the coordinate that the measured ones have."""
    dataset = made_up.results(**changes)
    layer = (np.maximum(dataset.position.values, 1) - 1) // 2
    return dataset.assign_coords(layer=("position", layer))


@pytest.fixture(scope="module")
def scripts():
    return explorer.scripts(RESULTS)


@pytest.fixture(scope="module", params=MODELS)
def shipped(request, scripts):
    """Results of a model and what the browser makes of them."""
    dataset = explorer.of_common_strengths({name: shipped_results(name) for name in MODELS})[
        request.param
    ]
    return dataset, value_of(scripts[f"explorer-{request.param}.js"])


def test_every_model_with_results_is_there_by_its_title(scripts):
    assert set(MAIN) <= set(MODELS)
    assert set(scripts) == {explorer.INDEX, *(f"explorer-{name}.js" for name in MODELS)}
    index = value_of(scripts[explorer.INDEX])
    assert index["models"] == {name: REGISTRY[name].title for name in MODELS}
    for name in MODELS:
        assert scripts[f"explorer-{name}.js"].startswith(f'EXPLORER.data["{name}"] = ')
        assert set(shipped_results(name).metric.values) == set(index["metrics"])


def test_scripts_are_small_and_of_plain_characters(scripts):
    assert sum(len(scripts[f"explorer-{name}.js"]) for name in MAIN) < 4e6
    assert len(scripts[explorer.INDEX]) < 2e4
    assert all(text.isascii() for text in scripts.values())


def test_responses_and_matrices_are_those_of_the_file_bit_for_bit(shipped):
    dataset, data = shipped
    expected = dataset.response.transpose(*DIMS)
    found = unpacked(data["response"]).reshape(expected.shape)
    np.testing.assert_array_equal(found.view(np.uint32), expected.values.view(np.uint32))
    matrix = unpacked(data["matrix"]).reshape(dataset.matrix.shape)
    np.testing.assert_array_equal(matrix, dataset.matrix.values)


def test_errors_are_those_of_the_file_to_a_few_per_cent(shipped):
    dataset, data = shipped
    expected = dataset.response_sem.transpose(*DIMS).values
    found = unpacked(data["error"]).reshape(expected.shape)
    # Below the least normal number fewer digits are left.
    least = np.finfo(np.float32).tiny
    np.testing.assert_allclose(found, expected, rtol=2.0**-explorer.ERROR_BITS / 2, atol=least)


def test_axes_and_marks_are_those_of_the_file(shipped):
    dataset, data = shipped
    t0 = dataset.attrs["t0"]
    assert data["metric"] == list(dataset.metric.values)
    assert data["epsilon"] == list(dataset.epsilon.values)
    assert (data["t0"], data["epsilon0"]) == (t0, dataset.attrs["epsilon0"])
    assert data["distances"]["all"] == list(dataset.delta_j.values)
    assert data["distances"]["near"] == list(dataset.window.values)
    assert len(data["strengthColours"]) == dataset.sizes["epsilon"]
    assert data["position"][0] == "transformer input"
    for position in (1, 2, response.last(dataset)):
        kind = {1: "attention", 0: "MLP"}[position % 2]
        assert data["position"][position] == f"{kind} of layer {(position - 1) // 2}"
    assert [line["x0"] for line in data["marks"]["lines"]] == [t0 - 1, t0]
    assert [name["x"] for name in data["marks"]["names"]] == [t0 - 1, t0]


def test_metrics_are_known_by_power_symbol_and_colours(scripts):
    metrics = value_of(scripts[explorer.INDEX])["metrics"]
    assert {name: about["power"] for name, about in metrics.items()} == response.POWER
    assert [metrics[name]["symbol"] for name in ("delta", "phi", "theta_state")] == ["Δ", "φ", "ϑ"]
    for name, about in metrics.items():
        assert about["label"].startswith(f"{name}: ")
        for at, colour in about["colours"]:
            rgb = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
            np.testing.assert_allclose(rgb, figures.colormap(name)(at)[:3], atol=1 / 500)


def test_weak_numbers_negative_numbers_and_nan_survive():
    values = np.array([0, -0.0, 1e-38, -3e-9, 0.05, -1, np.nan], dtype=np.float32)
    np.testing.assert_array_equal(unpacked(explorer.pack(values)), values)
    # Any order in memory, any number type.
    matrix = np.arange(6.0).reshape(2, 3).T
    np.testing.assert_array_equal(unpacked(explorer.pack(matrix)), matrix.ravel())


def test_results_without_spread_are_shown():
    dataset = small(sequences=1)
    data = explorer.model_data(dataset)
    assert np.isnan(unpacked(data["error"])).all()
    np.testing.assert_array_equal(
        unpacked(data["response"]), dataset.response.values.ravel().astype(np.float32)
    )


def test_parallel_blocks_and_unregistered_models_are_named():
    dataset = small().isel(position=slice(3))
    dataset = dataset.assign_coords(
        sublayer=("position", ["input", "block", "block"]), layer=("position", [0, 0, 1])
    )
    assert explorer.model_data(dataset)["position"] == ["transformer input", "layer 0", "layer 1"]
    assert explorer.index({"mine": dataset})["models"] == {"mine": "made up"}


def test_folder_without_results_of_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no results file is called after a registered model"):
        explorer.scripts(tmp_path)


# What book/explorer.md tells a reader to look for.


def test_peak_moves_as_the_page_says(shipped):
    dataset, _ = shipped
    if REGISTRY[dataset.attrs["model"]].shipped:
        pytest.skip("has no lane of duplicate tokens from which it could move")
    t0 = dataset.attrs["t0"]
    near = response.at_epsilon(dataset.response.sel(metric="delta"), 0.05)
    peak = near.sel(delta_j=dataset.window.values).idxmax("delta_j")
    assert (int(peak[10]), int(peak[-1])) == (t0, t0 - 1)


def test_curves_collapse_as_the_page_says(shipped):
    dataset, _ = shipped
    for metric in ("delta", "phi"):
        for position in (response.last(dataset), min(20, response.last(dataset) // 2)):
            curves = dataset.response.sel(metric=metric, position=position)
            divided = curves / response.theory(metric, dataset.epsilon, dataset.attrs["epsilon0"])
            deviation = abs(divided / divided.sel(epsilon=0.003) - 1).median("delta_j")
            weak, strong = deviation.sel(epsilon=slice(None, 0.01)), deviation.sel(epsilon=0.5)
            assert float(weak.max()) < 0.15
            assert float(strong) > 1.5 * float(weak.max())
            apart = curves.sel(epsilon=0.5) / curves.sel(epsilon=3e-4)
            assert float(apart.min()) > 100


def test_only_the_perturbed_token_responds_at_the_input_as_the_page_says(shipped):
    dataset, _ = shipped
    at_input = dataset.response.isel(position=0)
    assert (at_input.isel(delta_j=slice(1, None)) == 0).all()
    assert (at_input.isel(delta_j=0).sel(metric="delta") > 0).all()
