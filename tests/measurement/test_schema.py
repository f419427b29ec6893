"""The schema of the results: names, dimensions, attributes, bits that are kept."""

import json

import numpy as np
import xarray as xr
from measured import SETTINGS, half_a_unit, is_relative, scale, shapes
from tiny_models import LAYERS, VOCABULARY, tiny_hf_model, tiny_model
from universal_response import Settings, load_results, measure, measurement, response, save_results
from universal_response.measurement import SCHEMA_VERSIONS
from universal_response.metrics import METRICS

PROVENANCE = {"model", "weights_sha256", "quantisation"}
ATTRIBUTES = PROVENANCE | {
    "schema_version",
    "t0",
    "batch",
    "distance",
    "epsilon0",
    "seed",
    "distinct",
    "sources",
    "perturbation",
    "perturbed_position",
    "products",
    "products_effect",
    "fallback_modules",
    "input",
    "dtype",
    "device",
    "architecture",
    "versions",
    "git_commit",
    "wall_time_s",
    "created",
}


def test_schema(dataset):
    m, t, n = len(METRICS), 2 * SETTINGS.t0, 2 * LAYERS + 1
    average = ("metric", "position", "delta_j"), (m, n, t)
    matrix = ("metric", "source", "target"), (m, t, t)
    whole_map = ("metric", "position", "source", "target"), (m, n, t, t)
    last = ("metric", "sequence", "delta_j"), (m, 4, t)
    peak = ("metric", "sequence", "position"), (m, 4, n)
    window = ("metric", "sequence", "position", "window"), (m, 4, n, 11)

    def by_epsilon(dims, shape):
        return ("metric", "epsilon", *dims[1:]), (m, 3, *shape[1:])

    averages = ["response", "response_sem", "geometric", "geometric_sem", "fraction", "witness"]
    limits = ["linear", "linear_sem", *(f"linear_{name}" for name in averages[2:])]
    kinds = ("sum", "log_sum", "log_n")
    assert shapes(dataset) == {
        "tokens": (("sequence", "token"), (4, t)),
        "sources": (("sequence", "draw"), (4, t)),
        "n_pairs": (("sequence", "delta_j"), (4, t)),
        "state_length": (("position",), (n,)),
        "pairs": (("metric", "sequence", "draw", "pair_distance"), (m, 4, t, 3)),
        **dict.fromkeys(averages, by_epsilon(*average)),
        **dict.fromkeys(limits, average),
        **dict.fromkeys(("matrix", "linear_matrix"), matrix),
        **dict.fromkeys(("map", "linear_map"), whole_map),
        **{f"last_{kind}": by_epsilon(*last) for kind in kinds},
        **{f"peak_{kind}": by_epsilon(*peak) for kind in kinds},
        **{f"window_{kind}": window for kind in kinds},
        **{f"linear_last_{kind}": last for kind in kinds},
        **{f"linear_peak_{kind}": peak for kind in kinds},
        **{f"linear_window_{kind}": window for kind in kinds},
    }
    assert dataset.attrs["schema_version"] == SCHEMA_VERSIONS["response"]
    assert dataset.metric.values.tolist() == list(METRICS)
    assert tuple(dataset.epsilon.values) == SETTINGS.epsilons
    assert dataset.position.values.tolist() == list(range(n))
    assert dataset.delta_j.values.tolist() == list(range(t))
    assert dataset.window.values.tolist() == list(range(SETTINGS.t0 - 5, SETTINGS.t0 + 6))
    assert dataset.pair_distance.values.tolist() == [6, 7, 3]
    assert dataset.layer.values.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dataset.sublayer.values.tolist() == ["input", *["attention", "mlp"] * LAYERS]
    assert dataset.tokens.dtype == np.int64
    for name, array in dataset.data_vars.items():
        if array.dtype.kind == "f":
            assert array.dtype == (np.float32 if name.endswith("sem") else np.float64), name
        # Nan is what there is not: logarithms of cosines and of 0, pairs beyond the sequence.
        if not any(part in name for part in ("geometric", "fraction", "log", "pairs")):
            assert np.isfinite(array).all(), name


def test_attributes(dataset):
    attrs = dataset.attrs
    assert set(attrs) == ATTRIBUTES
    assert all(attrs[name] == "unknown" for name in PROVENANCE)
    assert (attrs["t0"], attrs["batch"], attrs["epsilon0"], attrs["seed"]) == (7, 4, 0.05, 7)
    assert (attrs["distance"], attrs["sources"], attrs["distinct"]) == (6, "all", 0)
    assert (attrs["perturbation"], attrs["perturbed_position"]) == ("scaling", 0)
    assert (attrs["products"], attrs["products_effect"]) == ("float32", 0.0)
    assert attrs["fallback_modules"] == "none"
    assert attrs["dtype"] == "float64"  # of the model, not of the settings
    assert {"python", "torch", "transformer-lens", "universal-response"} <= set(
        json.loads(attrs["versions"])
    )
    assert attrs["schema_version"] == measurement.SCHEMA_VERSIONS["response"]
    assert attrs["device"].startswith("cpu")
    assert attrs["input"] == "repeated random tokens"
    assert attrs["wall_time_s"] > 0


def test_numbers_of_a_single_precision_model(shipped):
    assert shipped.attrs["dtype"] == "float32"
    kept = {name for name, array in shipped.data_vars.items() if array.dtype.kind == "f"}
    fractions = {"fraction", "linear_fraction"}  # 1 nearly everywhere
    assert {name for name in kept if measurement.stored_bits(name)} == kept - fractions
    for name in kept:
        assert shipped[name].dtype == np.float32, name


def test_stored_numbers_are_rounded_to_the_bits_that_say_something(shipped, stored):
    rounded = [name for name in shipped.data_vars if measurement.stored_bits(name)]
    assert {"response", "linear", "last_log_sum", "linear_window_sum", "map", "pairs"} <= {*rounded}
    for name in rounded:
        bits, found = measurement.stored_bits(name), stored[name].values
        relative = xr.ones_like(shipped[name], dtype=bool) & is_relative(shipped, name)
        relative = relative.transpose(*shipped[name].dims).values
        assert found.dtype == np.float32
        assert (found[relative].view(np.uint32) & ((1 << 23 - bits) - 1) == 0).all(), name
        steps = found[~relative & np.isfinite(found)] * 2.0**bits
        assert (steps == np.round(steps)).all(), name
        off = abs(stored[name].astype(float) - shipped[name])
        allowed = 1.001 * half_a_unit(name) * scale(shipped, name)
        assert bool((off <= allowed).where(shipped[name].notnull(), True).all()), name
        np.testing.assert_array_equal(stored[name].isnull(), shipped[name].isnull())
        assert float((off > 0).mean()) > 0.1, name


def test_what_is_averaged_is_stored_no_better_than_its_average():
    bits = measurement.stored_bits
    order = ("response", "witness", "last_sum", "last_log_sum", "response_sem")
    assert [bits(name) for name in order] == sorted(map(bits, order), reverse=True)
    assert all(bits(f"linear_{name}") == bits(name) for name in order[1:-1])
    assert (bits("linear"), bits("linear_sem")) == (bits("response"), bits("response_sem"))
    assert bits("tokens") is None
    # A response is known to 2e-5, what `verify` compares to half of its 1e-3.
    assert half_a_unit("response") < 2e-5
    assert half_a_unit("witness") < 5e-4


def test_rounding_keeps_what_is_no_number_and_what_is_exact(shipped, tmp_path):
    exact = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -0.75]
    odd = shipped.copy(deep=True)
    odd.response.values.flat[: len(exact)] = exact
    found = load_results(save_results(odd, tmp_path / "odd.nc")).response.values
    np.testing.assert_array_equal(found.flat[: len(exact)], np.float32(exact))


def test_parallel_blocks_have_half_the_positions():
    found = measure(tiny_model("gpt_neox"), Settings(t0=3, batch=1))
    assert found.sublayer.values.tolist() == ["input", *["block"] * LAYERS]
    assert found.sizes["position"] == LAYERS + 1


def test_architecture_of_results(dataset):
    found = response.architecture_of(dataset)
    assert (found["layers"], found["width"], found["vocabulary"]) == (LAYERS, 32, VOCABULARY)
    # Not those of the bridge, which splits joint weights of queries, keys and values into copies.
    weights = tiny_hf_model("gpt2").parameters()
    assert found["parameters"] == sum(weight.numel() for weight in weights)
