"""Settings, the results and their schema, files, and verification."""

import contextlib
import dataclasses
import json
import sys

import h5py
import numpy as np
import plain
import pytest
import torch
import xarray as xr
from tiny_models import CONTEXT, LAYERS, VOCABULARY, tiny_hf_model, tiny_model
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from universal_response import (
    Settings,
    load_results,
    measure,
    measure_into,
    measurement,
    propagation,
    repeated_random_tokens,
    response,
    results_for,
    save_results,
    verify,
)
from universal_response.measurement import memory, settings, subject, sums
from universal_response.metrics import LINEAR_METRICS
from universal_response.perturbation import Direction, Scaling, Swap
from universal_response.propagation import choice, linear_inner_products
from universal_response.sequences import stratified_sources

MEASURE = sys.modules[measure.__module__]  # its name is that of the function
METRICS = ["delta", "phi", "theta_source", "theta_state", "theta_perturbation"]
SETTINGS = Settings(t0=7, batch=4, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)
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
RUN = ["wall_time_s", "created"]  # what may differ between two equal measurements


def one_line(start):
    return rf"\A{start}[^\n]*\Z"


def numbers(dataset):
    return dataset.drop_attrs(deep=False)


def without_run(dataset):
    return {name: value for name, value in dataset.attrs.items() if name not in RUN}


@pytest.fixture(scope="module")
def dataset(gpt2):
    return measure(gpt2, SETTINGS)


@pytest.fixture(scope="module")
def single():
    """A model in single precision, where rounding shows."""
    return tiny_model("llama")


@pytest.fixture(scope="module")
def shipped(single):
    return measure(single, SETTINGS)


@pytest.fixture(scope="module")
def stored(shipped, tmp_path_factory):
    """The same, written and read again."""
    return load_results(save_results(shipped, tmp_path_factory.mktemp("stored") / "results.nc"))


@pytest.fixture(scope="module")
def plain_matrices(gpt2, dataset):
    """Metrics of the plain loop on the same tokens."""
    tokens = torch.from_numpy(dataset.tokens.values)
    return plain.metrics(plain.streams(gpt2, tokens, list(SETTINGS.epsilons)))


@pytest.fixture
def saved(dataset, tmp_path):
    return save_results(dataset, tmp_path / "results.nc")


# settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("t0", {"t0": 1}),
        ("t0", {"t0": -4}),
        ("batch", {"batch": 0}),
        ("epsilons", {"epsilons": (), "linear": False}),
        ("epsilons", {"epsilons": (0.0, 0.05)}),
        ("epsilons", {"epsilons": (-0.1, 0.05)}),
        ("epsilons", {"epsilons": (0.05, 1.01)}),
        ("epsilons", {"epsilons": (0.05, float("nan"))}),
        ("epsilons", {"epsilons": (0.05, 0.1, 0.05)}),
        ("epsilon0", {"epsilon0": 0.04}),
        ("seed", {"seed": -1}),
        ("dtype", {"dtype": "int8"}),
        ("sequences_per_chunk", {"sequences_per_chunk": 0}),
        ("distance", {"distance": -1}),
        ("distance", {"distance": 128}),
        ("sources", {"sources": 0}),
        ("sources", {"sources": 129}),
        ("perturbation", {"perturbation": "scaling"}),
        ("perturbed_position", {"perturbed_position": -1}),
        ("products", {"products": "int8"}),
        ("distinct", {"distinct": True, "t0": 0, "tokens": ((1, 2, 3),)}),
    ],
)
def test_bad_setting_is_named_in_one_line(name, bad):
    with pytest.raises(ValueError, match=one_line(f"{name}[=:]")):
        Settings(**bad)


def test_settings_are_frozen_and_keyword_only():
    default = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        default.t0 = 3
    with pytest.raises(TypeError):
        Settings(64)
    assert (default.t0, default.epsilon0, default.seed) == (64, 0.05, 0)


def test_unless_told_otherwise_the_scale_is_that_of_the_paper():
    default = Settings()
    assert (default.batch, default.sources, default.linear) == (32, None, True)
    assert (default.perturbation, default.perturbed_position) == (Scaling(), 0)
    assert (default.products, default.peak) == ("float32", 63)
    assert len(default.epsilons) >= 12
    assert (min(default.epsilons), max(default.epsilons)) == (3e-4, 0.5)
    assert {0.03, 0.05, 0.1} <= set(default.epsilons)


def test_strength_one_is_allowed():
    assert Settings(epsilons=(0.05, 1.0)).epsilons == (0.05, 1.0)


def test_a_peak_is_expected_where_something_repeats_or_where_one_is_told():
    tokens = ((1, 2, 3, 4, 5, 6),)
    assert Settings(t0=5).peak == 4
    assert Settings(t0=5, distance=7).peak == 7
    assert Settings(tokens=tokens, t0=0).peak is None
    assert Settings(tokens=tokens, t0=0, distance=3).peak == 3


def test_a_seed_that_decides_nothing_is_none():
    tokens = ((1, 2, 3, 4),)
    assert Settings(tokens=tokens, t0=0, seed=3).seed == 0
    assert Settings(tokens=tokens, t0=0, seed=3, sources=2).seed == 3


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"device": "cpu", "sequences_per_chunk": 3}, True),
        ({"distance": 63}, True),
        ({"distance": 62}, False),
        ({"sources": 8}, False),
        ({"distinct": True}, False),
        ({"perturbed_position": 1}, False),
        ({"products": "bfloat16"}, False),
        ({"perturbation": Swap(3)}, False),
        ({"perturbation": Direction(torch.ones(3))}, False),
        ({"linear": False}, False),
        ({"dtype": "float64"}, False),
    ],
)
def test_description_tells_measurements_apart(change, same):
    default, other = Settings(), dataclasses.replace(Settings(), **change)
    assert (measurement.description(other) == measurement.description(default)) == same
    names = {measurement.results_name("m", one) for one in (default, other)}
    assert (len(names) == 1) == same


def test_description_of_a_direction_is_that_of_its_components():
    one, same, other = (
        measurement.description(Settings(perturbation=Direction(torch.arange(3.0) + shift)))
        for shift in (0, 0, 1)
    )
    assert one == same
    assert one != other


# what is drawn -----------------------------------------------------------------------------------


def test_sources_of_a_sequence_depend_on_its_number_and_the_seed_alone():
    few, many = (
        settings.sources_of(Settings(t0=10, batch=batch, sources=6, seed=3)) for batch in (2, 7)
    )
    np.testing.assert_array_equal(few, many[:2])
    assert len({tuple(row) for row in many}) == 7
    other = settings.sources_of(Settings(t0=10, batch=7, sources=6, seed=4))
    assert not np.array_equal(many, other)
    every = settings.sources_of(Settings(t0=10, batch=2))
    np.testing.assert_array_equal(every, [range(20)] * 2)


@pytest.mark.parametrize(("t", "n"), [(16, 4), (20, 6), (7, 7), (5, 1)])
def test_sources_are_distinct_spread_out_and_drawn_equally_often(t, n):
    generator = np.random.default_rng(0)
    counts, repetitions = np.zeros(t), 6000
    for _ in range(repetitions):
        drawn = stratified_sources(t, n, generator)
        assert drawn.shape == (n,)
        assert (np.diff(drawn) > 0).all()
        gaps = np.diff(np.append(drawn, drawn[0] + t))  # around the end
        assert gaps.max() < 2 * np.ceil(t / n)
        counts[drawn] += 1
    expected = repetitions * n / t
    assert (abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_blocks_of_distinct_tokens():
    found = repeated_random_tokens(8, 20, 9, np.random.default_rng(0), distinct=True)
    assert all(len(set(row)) == 8 for row in found)
    np.testing.assert_array_equal(found[:, :8], found[:, 8:])
    assert len({tuple(row) for row in found}) == 20
    fewer = repeated_random_tokens(8, 3, 9, np.random.default_rng(0), distinct=True)
    np.testing.assert_array_equal(fewer, found[:3])
    with pytest.raises(ValueError, match=one_line("distinct: ")):
        repeated_random_tokens(8, 1, 7, np.random.default_rng(0), distinct=True)


def test_sequence_longer_than_the_context(gpt2):
    t0 = CONTEXT // 2 + 1
    with pytest.raises(ValueError, match=one_line(f"t0={t0}: [^\n]*{CONTEXT}")):
        measure(gpt2, Settings(t0=t0, batch=1))


# the results -------------------------------------------------------------------------------------


def schema(dataset):
    return {name: (array.dims, array.shape) for name, array in dataset.data_vars.items()}


def test_schema(dataset):
    t, n = 2 * SETTINGS.t0, 2 * LAYERS + 1
    average = ("metric", "position", "delta_j"), (5, n, t)
    matrix = ("metric", "source", "target"), (5, t, t)
    whole_map = ("metric", "position", "source", "target"), (5, n, t, t)
    last = ("metric", "sequence", "delta_j"), (5, 4, t)
    peak = ("metric", "sequence", "position"), (5, 4, n)
    window = ("metric", "sequence", "position", "window"), (5, 4, n, 11)

    def by_epsilon(dims, shape):
        return ("metric", "epsilon", *dims[1:]), (5, 3, *shape[1:])

    averages = ["response", "response_sem", "geometric", "geometric_sem", "fraction", "witness"]
    limits = ["linear", "linear_sem", *(f"linear_{name}" for name in averages[2:])]
    kinds = ("sum", "log_sum", "log_n")
    assert schema(dataset) == {
        "tokens": (("sequence", "token"), (4, t)),
        "sources": (("sequence", "draw"), (4, t)),
        "n_pairs": (("sequence", "delta_j"), (4, t)),
        "state_length": (("position",), (n,)),
        "pairs": (("metric", "sequence", "draw", "pair_distance"), (5, 4, t, 3)),
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
    assert dataset.attrs["schema_version"] == 3
    assert dataset.metric.values.tolist() == METRICS
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


def half_a_unit(name):
    """Largest error of a number that is rounded for a file: relative, or of a cosine absolute."""
    return 2.0 ** -(measurement.stored_bits(name) + 1)


def is_relative(dataset, name):
    """Whether numbers keep leading bits; cosines and logarithms are rounded to a part of 1."""
    if name.endswith("sem"):
        return xr.DataArray(True)
    if "metric" not in dataset[name].dims:
        return xr.DataArray("log" not in name)
    return ~dataset.metric.str.startswith("theta") & ("log" not in name)


def scale(dataset, name):
    """What the error of a stored number is relative to."""
    absolute = xr.DataArray(1.0)
    if name.endswith("_sum"):
        place = name.removeprefix("linear_").split("_")[0]
        absolute = response.pairs_at(dataset, place).clip(min=1)
    return xr.where(is_relative(dataset, name), abs(dataset[name]), absolute)


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


def test_tokens_are_those_of_the_seed(dataset):
    expected = repeated_random_tokens(7, 4, VOCABULARY, np.random.default_rng(7))
    assert np.array_equal(dataset.tokens, expected)


def test_response_is_the_mean_of_the_plain_matrices_along_diagonals(dataset, plain_matrices):
    for metric, matrix in plain_matrices.items():
        expected = plain.response_function(matrix).mean(2).transpose(0, 1)
        found = dataset.response.sel(metric=metric)
        np.testing.assert_allclose(
            found, expected, rtol=1e-6, atol=tolerance(metric), err_msg=metric
        )


def test_standard_error_over_sequences(dataset, plain_matrices):
    for metric, matrix in plain_matrices.items():
        each = plain.response_function(matrix).numpy()
        expected = (each.std(axis=2, ddof=1) / np.sqrt(4)).swapaxes(0, 1)
        found = dataset.response_sem.sel(metric=metric)
        np.testing.assert_allclose(
            found, expected, rtol=1e-6, atol=tolerance(metric), err_msg=metric
        )


def test_sums_of_each_sequence(dataset, plain_matrices):
    """At the last position, at dj = T0 - 1, and near the peak at the reference strength."""
    reference, near = SETTINGS.epsilons.index(0.05), slice(SETTINGS.t0 - 5, SETTINGS.t0 + 6)
    n = 14 - torch.arange(14)
    assert (dataset.n_pairs == n.numpy()).all()
    for metric, matrix in plain_matrices.items():
        # (position, epsilon, sequence, delta_j)
        each = plain.response_function(matrix) * n
        expected = {
            "last_sum": each[-1],
            "peak_sum": each[..., SETTINGS.t0 - 1].permute(1, 2, 0),
            "window_sum": each[:, reference, :, near].transpose(0, 1),
        }
        for name, values in expected.items():
            found = dataset[name].sel(metric=metric)
            np.testing.assert_allclose(
                found, values, rtol=1e-6, atol=14 * tolerance(metric), err_msg=f"{name} {metric}"
            )


def rows_of(matrix):
    """Pairs by distance (..., source, delta_j), nan beyond the sequence."""
    t = matrix.shape[-1]
    rows = torch.full_like(matrix, torch.nan)
    for i in range(t):
        rows[..., i, : t - i] = matrix[..., i, i:]
    return rows


def test_geometric_means_average_logarithms_in_each_sequence_then_over_them(
    dataset, plain_matrices
):
    # Exact zeros are those of the input, where no other token responds and nothing turns.
    rows = rows_of(plain_matrices["delta"])
    logs = torch.where(rows > 0, rows, torch.nan).log().nanmean(-2).permute(2, 1, 0, 3).numpy()
    found = dataset.sel(metric="delta")
    np.testing.assert_allclose(found.geometric, np.exp(logs.mean(0)), rtol=1e-6)
    expected = np.exp(logs.mean(0)) * logs.std(0, ddof=1) / 2
    np.testing.assert_allclose(found.geometric_sem, expected, rtol=1e-5, atol=1e-9)
    assert np.isnan(found.geometric.isel(position=0, delta_j=slice(1, None))).all()
    assert (found.fraction.isel(position=0, delta_j=slice(1, None)) == 0).all()
    assert (found.fraction.isel(position=slice(1, None)) == 1).all()
    cosines = dataset.sel(metric=METRICS[2:])
    for name in ("geometric", "geometric_sem", "fraction", "linear_geometric"):
        assert np.isnan(cosines[name]).all()
    assert (cosines.last_log_n == 0).all()


def test_logarithms_of_each_sequence(dataset, plain_matrices):
    rows = rows_of(plain_matrices["delta"])[1:].log().nansum(-2)
    found = dataset.sel(metric="delta")
    np.testing.assert_allclose(found.last_log_sum, rows[-1], rtol=1e-6)
    at_peak = rows[..., SETTINGS.t0 - 1].permute(1, 2, 0)
    np.testing.assert_allclose(found.peak_log_sum.isel(position=slice(1, None)), at_peak, rtol=1e-6)
    assert (found.last_log_n == dataset.n_pairs).all()
    assert (found.peak_log_n.isel(position=slice(1, None)) == 14 - 6).all()
    for place in ("last", "peak", "window"):
        for linear in (False, True):
            geometric = response.geometric_mean(dataset, place, linear)
            assert set(geometric) == {"mean", "sem", "fraction"}
    last = response.geometric_mean(dataset, "last").sel(metric="delta")
    np.testing.assert_allclose(last["mean"], found.geometric.isel(position=-1), rtol=1e-9)
    np.testing.assert_allclose(last["sem"], found.geometric_sem.isel(position=-1), rtol=1e-5)


def test_pairs_and_maps_are_those_of_the_limit_and_the_reference(gpt2, dataset, plain_matrices):
    found = linear_inner_products(torch.from_numpy(dataset.tokens.values), gpt2)
    for metric in METRICS:
        matrix = LINEAR_METRICS[metric](found)[:, 0]
        at = {"metric": metric}
        expected = rows_of(matrix[-1])[..., dataset.pair_distance.values.tolist()]
        np.testing.assert_allclose(dataset.pairs.sel(at), expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(dataset.linear_map.sel(at), matrix.mean(1), rtol=1e-6, atol=1e-9)
        finite = plain_matrices[metric][:, SETTINGS.epsilons.index(0.05)].mean(1)
        np.testing.assert_allclose(
            dataset["map"].sel(at), finite, rtol=1e-6, atol=tolerance(metric)
        )
    for prefix in ("", "linear_"):
        last = dataset[f"{prefix}map"].isel(position=-1)
        np.testing.assert_array_equal(dataset[f"{prefix}matrix"], last)


def test_a_map_that_is_not_small_is_not_kept(gpt2, dataset, monkeypatch):
    size = dataset["map"].size
    for limit, kept in ((size, True), (size - 1, False)):
        monkeypatch.setattr(sums, "MAP_NUMBERS", limit)
        found = measure(gpt2, dataclasses.replace(SETTINGS, linear=False))
        assert ("map" in found) == kept


def test_mean_length_of_the_states(gpt2, dataset):
    found = plain.streams(gpt2, torch.from_numpy(dataset.tokens.values), [0.5])
    lengths = torch.linalg.vector_norm(found.clean, dim=-1).mean((1, 2))
    np.testing.assert_allclose(dataset.state_length, lengths, rtol=1e-6)


def rounding_of(dataset, name):
    """Rounding error of a variable, relative to `scale`: in memory, or as it was stored."""
    if dataset[name].dtype == np.float64:
        return 1e-12
    return half_a_unit(name) if "content_sha256" in dataset.attrs else 1e-6


@pytest.mark.parametrize("kind", ["dataset", "shipped", "stored"])
def test_mean_over_pairs_is_the_response(request, kind):
    found = request.getfixturevalue(kind)
    near = {"epsilon": 0.05, "delta_j": found.window.values}
    means = {
        "last_sum": ("response", {"position": 2 * LAYERS}),
        "peak_sum": ("response", {"delta_j": SETTINGS.t0 - 1}),
        "window_sum": ("response", near),
        "linear_last_sum": ("linear", {"position": 2 * LAYERS}),
        "linear_peak_sum": ("linear", {"delta_j": SETTINGS.t0 - 1}),
        "linear_window_sum": ("linear", {"delta_j": found.window.values}),
    }
    for name, (average, at) in means.items():
        place = name.removeprefix("linear_").split("_")[0]
        n = response.pairs_at(found, place)
        mean = response.mean_over_pairs(found[name], n)
        expected = found[average].sel(at)
        assert mean.shape == expected.shape
        rounding = (scale(found, name) / n).max("sequence") * rounding_of(found, name)
        rounding = rounding.transpose(*mean.dims).values
        rounding = rounding + (scale(found, average) * rounding_of(found, average)).sel(at).values
        assert (abs(mean.values - expected.values) <= 1.001 * rounding).all(), name


@pytest.mark.parametrize("kind", ["dataset", "shipped", "stored"])
def test_spread_over_sequences_is_the_standard_error(request, kind):
    found = request.getfixturevalue(kind)
    for name, error in {"last_sum": "response_sem", "linear_last_sum": "linear_sem"}.items():
        each, expected = found[name] / found.n_pairs, found[error].isel(position=-1)
        spread = response.error_over_pairs(found[name], found.n_pairs)
        np.testing.assert_allclose(spread, each.std("sequence", ddof=1) / 2, rtol=1e-5, atol=1e-8)
        slack = 1.001 * rounding_of(found, error) * spread
        slack = slack + 2 * rounding_of(found, name) * (scale(found, name) / found.n_pairs).max(
            "sequence"
        )
        assert (abs(spread - expected) <= slack).all(), name


def test_limit_is_the_mean_of_linear_matrices_along_diagonals(gpt2, dataset):
    products = linear_inner_products(torch.from_numpy(dataset.tokens.values), gpt2)
    for metric in METRICS:
        each = plain.response_function(LINEAR_METRICS[metric](products)[:, 0]).numpy()
        at = {"metric": metric}
        np.testing.assert_allclose(dataset.linear.sel(at), each.mean(1), rtol=1e-6, atol=1e-9)
        sums = (dataset.linear_last_sum / dataset.n_pairs).sel(at)
        np.testing.assert_allclose(sums, each[-1], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(
            dataset.linear_sem.sel(at),
            each.std(1, ddof=1) / np.sqrt(4),
            rtol=1e-6,
            atol=tolerance(metric),
        )


def test_weak_perturbations_reach_the_limit(gpt2):
    """C / epsilon and C / epsilon^2 at epsilon = 1e-4, where the next order is about 1e-4."""
    weak = measure(gpt2, Settings(t0=5, batch=2, epsilons=(1e-4,), epsilon0=1e-4))
    for metric, power in {"delta": 1, "phi": 2, "theta_source": 0}.items():
        found = weak.response.sel(metric=metric, epsilon=1e-4).isel(position=-1)
        limit = weak.linear.sel(metric=metric).isel(position=-1)
        np.testing.assert_allclose(found / 1e-4**power, limit, rtol=2e-3, atol=2e-4)


def test_limit_only_if_asked(gpt2, dataset):
    found = measure(gpt2, dataclasses.replace(SETTINGS, linear=False))
    gone = {name for name in dataset.data_vars if name.startswith("linear")} | {"pairs"}
    assert set(dataset.data_vars) - set(found.data_vars) == gone
    dataset = dataset.drop_vars("pair_distance")
    xr.testing.assert_equal(numbers(found), numbers(dataset.drop_vars(gone)))


def test_matrix_is_the_mean_at_the_last_position_and_epsilon0(dataset, plain_matrices):
    for metric, matrix in plain_matrices.items():
        expected = matrix[-1, SETTINGS.epsilons.index(0.05)].mean(0)
        found = dataset.matrix.sel(metric=metric)
        np.testing.assert_allclose(
            found, expected, rtol=1e-6, atol=tolerance(metric), err_msg=metric
        )
        along = plain.response_function(torch.from_numpy(found.values))
        response = dataset.response.sel(metric=metric, epsilon=0.05).isel(position=-1)
        np.testing.assert_allclose(along, response, rtol=1e-6, atol=1e-14)


def tolerance(metric):
    """The first sublayers of GPT-2 hardly see a rescaled vector: cosines of tiny vectors there."""
    return 1e-6 if metric.startswith("theta") else 1e-13


def test_witness_is_the_first_sequence_alone(gpt2, dataset):
    alone = measure(gpt2, dataclasses.replace(SETTINGS, batch=1))
    for name, average in (("witness", "response"), ("linear_witness", "linear")):
        np.testing.assert_allclose(dataset[name], alone[average], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(alone[average], alone[name])
        assert not np.allclose(dataset[name], dataset[average], rtol=1e-3, atol=1e-6)
    last = (dataset.last_sum / dataset.n_pairs).isel(sequence=0)
    np.testing.assert_allclose(last, dataset.witness.isel(position=-1), rtol=1e-12)
    assert np.isnan(alone.response_sem).all()
    assert np.isnan(alone.linear_sem).all()


def test_same_settings_twice(single, shipped):
    again = measure(single, SETTINGS)
    xr.testing.assert_identical(numbers(again), numbers(shipped))
    assert without_run(again) == without_run(shipped)


def test_other_seed(single, shipped):
    other = measure(single, dataclasses.replace(SETTINGS, seed=8))
    assert not np.array_equal(other.tokens, shipped.tokens)
    assert not np.allclose(other.response, shipped.response, rtol=1e-3, atol=0)


def test_chunks_do_not_matter(gpt2, dataset):
    for size in (1, 3):
        chunked = measure(gpt2, dataclasses.replace(SETTINGS, sequences_per_chunk=size))
        for name in dataset.data_vars:
            np.testing.assert_allclose(
                chunked[name], dataset[name], rtol=1e-6, atol=1e-6, err_msg=name
            )


def test_chunks_are_as_large_as_asked(gpt2, monkeypatch):
    sizes = {"chunked_inner_products": [], "linear_inner_products": []}

    def watched(name):
        whole = getattr(sums, name)

        def run(tokens, *arguments, **named):
            sizes[name].append(len(tokens))
            return whole(tokens, *arguments, **named)

        return run

    for name in sizes:
        monkeypatch.setattr(sums, name, watched(name))
    small = Settings(t0=2, batch=5, epsilons=(0.05,))
    measure(gpt2, dataclasses.replace(small, sequences_per_chunk=2))
    for found in sizes.values():
        assert sum(found) == 5
        assert max(found) <= 2
        found.clear()
    # If nothing is asked: no more than may be lost when the measurement is killed.
    measure(gpt2, dataclasses.replace(small, batch=measurement.SEQUENCES_PER_SHARD + 1))
    for found in sizes.values():
        assert sum(found) == measurement.SEQUENCES_PER_SHARD + 1
        assert len(found) == 2
        found.clear()


def test_strengths_are_measured_as_many_at_a_time_as_memory_allows(gpt2, monkeypatch):
    many = Settings(t0=2, batch=2, epsilons=(0.01, 0.05, 0.1, 0.2), sequences_per_chunk=2)
    together, chunks = measure(gpt2, many), []
    whole = sums.chunked_inner_products

    def watched(tokens, model, given, **named):
        chunks.extend(len(epsilons) for epsilons in given)
        return whole(tokens, model, given, **named)

    monkeypatch.setattr(sums, "chunked_inner_products", watched)
    # Three strengths of two sequences of four tokens: ten float64 arrays at seven positions.
    monkeypatch.setitem(memory.CHUNK_BYTES, "cpu", 3 * 10 * 8 * 7 * 2 * 16)
    found = measure(gpt2, many)
    assert chunks == [3, 1]
    for name in found.data_vars:
        np.testing.assert_allclose(found[name], together[name], rtol=1e-6, atol=1e-6, err_msg=name)
    chunks.clear()
    monkeypatch.setitem(memory.CHUNK_BYTES, "cpu", 1)
    measure(gpt2, many)
    assert chunks == [1] * 4


def test_sequences_too_long_for_the_memory_are_told(gpt2, monkeypatch):
    monkeypatch.setattr(subject, "device_memory", lambda device: 1000)
    with pytest.warns(UserWarning, match=one_line("[^\n]*4 tokens need[^\n]*GiB[^\n]*")):
        measure(gpt2, Settings(t0=2, batch=1, epsilons=(0.05,)))


def test_a_name_is_loaded_as_the_settings_say(gpt2, monkeypatch):
    asked = []

    def load(name, device, dtype, tokenizer, progress):
        asked.append((name, device, dtype, tokenizer))
        return gpt2

    monkeypatch.setattr(MEASURE, "load_model", load)
    measure("some/model", Settings(t0=3, batch=1, dtype="float64", device="cpu"))
    assert asked == [("some/model", "cpu", "float64", False)]


# files -------------------------------------------------------------------------------------------


def test_round_trip(dataset, tmp_path):
    before = dataset.copy(deep=True)
    path = save_results(dataset, tmp_path / "new" / "folder" / "results.nc")
    assert path == tmp_path / "new" / "folder" / "results.nc"
    loaded = load_results(path)
    # Errors are rounded; all other numbers of a double-precision model are as they were.
    errors = ["response_sem", "linear_sem", "geometric_sem", "linear_geometric_sem"]
    exact = [numbers(array.drop_vars(errors)) for array in (loaded, dataset)]
    xr.testing.assert_identical(*exact)
    assert list(loaded.data_vars) == list(dataset.data_vars)
    assert loaded.attrs.items() >= dataset.attrs.items()
    assert set(loaded.attrs) - set(dataset.attrs) == {"content_sha256"}
    xr.testing.assert_identical(dataset, before)
    assert [file.name for file in path.parent.iterdir()] == ["results.nc"]
    # What was read can be written again.
    assert load_results(save_results(loaded, path)).identical(loaded)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=one_line("results=[^\n]*no such file")):
        load_results(tmp_path / "nothing.nc")


@pytest.mark.parametrize(
    "name",
    [
        "tokens",
        "sources",
        "n_pairs",
        "response",
        "fraction",
        "map",
        "peak_log_n",
        "pairs",
        "state_length",
    ],
)
def test_changed_number(saved, name):
    with h5py.File(saved, "r+") as file:
        values = file[name][...]
        values[np.isfinite(values)] += 1
        file[name][...] = values
    with pytest.raises(ValueError, match=one_line("results=[^\n]*digest")):
        load_results(saved)


@pytest.mark.parametrize(("name", "value"), [("seed", 8), ("epsilon0", 0.01), ("model", "gpt2-xl")])
def test_changed_attribute(saved, name, value):
    with h5py.File(saved, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(ValueError, match=one_line("results=[^\n]*digest")):
        load_results(saved)


@pytest.mark.parametrize("fraction", [0, 0.001, 0.3, 0.5, 0.9, 0.99])
def test_truncated_file(saved, fraction):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(ValueError, match=one_line(f"results={saved}: ")):
        load_results(saved)


def test_flipped_byte_is_never_taken_for_a_result(saved):
    whole, expected = saved.read_bytes(), load_results(saved)
    for place in range(0, len(whole), len(whole) // 30):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ValueError):
            xr.testing.assert_equal(load_results(saved), expected)


def test_text_file(tmp_path):
    path = tmp_path / "text.nc"
    path.write_text("C(i, j)\n1.0\n")
    with pytest.raises(ValueError, match=one_line(f"results={path}: ")):
        load_results(path)


@pytest.mark.parametrize("schema_version", [0, 1, 4, "2b"])
def test_other_schema_version(dataset, tmp_path, schema_version):
    other = dataset.assign_attrs(schema_version=schema_version)
    path = save_results(other, tmp_path / "other.nc")
    with pytest.raises(ValueError, match=one_line(f"results=[^\n]*version {schema_version}")):
        load_results(path)


def test_netcdf_file_of_something_else(tmp_path):
    path = tmp_path / "weather.nc"
    xr.Dataset({"rain": ("day", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match=one_line("results=[^\n]*version none")):
        load_results(path)


@pytest.mark.parametrize("exists", [False, True])
def test_failed_save_leaves_nothing_and_harms_nothing(dataset, tmp_path, monkeypatch, exists):
    path = tmp_path / "results.nc"
    before = load_results(save_results(dataset, path))
    if not exists:
        path.unlink()

    def fail(self, target, **options):
        with open(target, "wb") as file:
            file.write(b"half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_netcdf", fail)
        with pytest.raises(OSError, match="no space"):
            save_results(2 * dataset, path)
    assert [file.name for file in tmp_path.iterdir()] == (["results.nc"] if exists else [])
    if exists:
        xr.testing.assert_equal(load_results(path), before)


# verification ------------------------------------------------------------------------------------


def test_results_agree_with_themselves(single, stored):
    found = verify(stored, single)
    assert found.agrees
    silent = 3 * 3 * 13 + 3 * 13  # cosines at l = 0, where no other token responds, have no value
    assert found.compared == stored.witness.size + stored.linear_witness.size - silent
    assert found.median_relative < half_a_unit("witness")


def test_results_agree_before_they_are_stored(single, shipped):
    assert verify(shipped, single).agrees


@pytest.mark.skipif("SHIM" in str(propagation.__doc__), reason="a subtraction rounds otherwise")
@pytest.mark.parametrize("seed", [0, 1])
def test_results_agree_where_sums_are_taken_in_another_order(stored, seed):
    """As another processor does: rounding differs, at the input (l = 0) too, and nothing else."""
    assert verify(stored, reordered_llama(seed)).agrees


def reordered_llama(seed):
    """The same function, with the components of its residual vectors in another order."""
    model = tiny_hf_model("llama")
    order = torch.randperm(32, generator=torch.Generator().manual_seed(seed))
    for name, parameter in model.named_parameters():
        writes = name.endswith(("o_proj.weight", "down_proj.weight", "norm.weight"))
        parameter.data = parameter[order] if writes else parameter[:, order]
    return build_bridge_from_module(model, type(model).__name__, hf_config=model.config)


def test_quick_verification_takes_the_reference_strength_alone(single, stored):
    found = verify(stored, single, quick=True)
    assert found.agrees
    assert found.compared == stored.witness.isel(epsilon=1).size - 3 * 13
    changed = stored.copy(deep=True)
    changed.linear_witness[0, -1, 0] *= 1.01
    changed.witness[0, 2, -1] *= 1.01
    assert verify(changed, single, quick=True).agrees
    changed.witness[0, 1, -1] *= 1.01
    assert not verify(changed, single, quick=True).agrees


@pytest.mark.parametrize("name", ["witness", "linear_witness"])
@pytest.mark.parametrize("metric", METRICS)
def test_one_number_off_by_one_percent_does_not_agree(single, stored, metric, name):
    changed = stored.copy(deep=True)
    at = {"metric": metric, "position": 2 * LAYERS, "delta_j": 3}
    at |= {"epsilon": 0.05} if name == "witness" else {}
    # A cosine is compared absolutely.
    changed[name].loc[at] += 0.01 * (
        1.0 if metric.startswith("theta") else abs(float(changed[name].sel(at)))
    )
    found = verify(changed, single)
    assert not found.agrees
    assert found.worst > 1
    assert found.where == {"epsilon": 0.0} | at


def test_witness_off_by_one_percent_does_not_agree(single, stored):
    changed = stored.copy(deep=True)
    changed["witness"] = changed.witness * 1.01
    assert not verify(changed, single).agrees


def test_other_weights_do_not_agree(stored):
    assert not verify(stored, tiny_model("qwen2")).agrees


def test_not_a_number_does_not_agree(single, stored):
    changed = stored.copy(deep=True)
    changed.witness[0, 1, 3, 2] = np.nan
    found = verify(changed, single)
    assert found.worst == np.inf
    assert found.where == {"metric": "delta", "epsilon": 0.05, "position": 3, "delta_j": 2}


def test_a_cosine_of_next_to_nothing_is_not_compared(single, stored):
    """Of an angle next to nothing neither, where the response is parallel to the state."""
    changed = stored.copy(deep=True)
    changed.witness.loc[{"position": 0, "metric": "theta_state", "delta_j": 2}] = 0.5
    changed.witness.loc[{"position": 0, "metric": "phi", "delta_j": 0}] += 0.9e-9 * 0.01**2
    assert verify(changed, single).agrees
    changed.witness.loc[{"position": 0, "metric": "phi", "delta_j": 0, "epsilon": 0.01}] += 1e-12
    assert not verify(changed, single).agrees


@pytest.mark.parametrize("name", ["tokens", "sources"])
def test_verification_refuses_what_the_seed_does_not_give(single, stored, name):
    changed = stored.copy(deep=True)
    changed[name][0, 0] = (changed[name][0, 0] + 1) % 14
    with pytest.raises(ValueError, match=one_line(f"{name}: ")):
        verify(changed, single)


# every kind of input -----------------------------------------------------------------------------


def rows(*parts):
    """Three sequences of these parts: a letter is a block of its own, a number an id."""
    generator = np.random.default_rng(5)
    return [
        [
            token
            for blocks in [{letter: generator.integers(1, VOCABULARY, 6) for letter in "abcdefgh"}]
            for part in parts
            for token in (blocks[part] if isinstance(part, str) else [part])
        ]
        for _ in range(3)
    ]


WEAK = {"epsilons": (0.01, 0.05)}
KINDS = {
    "limit only": Settings(t0=5, batch=3, epsilons=()),
    "limit only, sources": Settings(t0=5, batch=3, epsilons=(), sources=4, seed=2),
    "no repeat": Settings.for_tokens(rows("a", "b"), **WEAK),
    "two unrelated blocks": Settings.for_tokens(rows("a", "b"), distance=5, **WEAK),
    "a gap of 20": Settings.for_tokens(
        rows("a", "b", "c", "d", 1, 2, "a"), distance=5 + 20, **WEAK
    ),
    "BOS": Settings.for_tokens(rows(0, "a", "a"), t0=6, **WEAK),
    "three repeats": Settings.for_tokens(rows("a", "a", "a"), t0=6, **WEAK),
    "8 sources": Settings(t0=8, batch=3, sources=8, seed=1, **WEAK),
    "8 sources of a text": Settings.for_tokens(rows("a", "b"), sources=8, seed=1, **WEAK),
    "distinct tokens": Settings(t0=5, batch=3, distinct=True, linear=False, **WEAK),
    "a peak at the end": Settings(t0=4, batch=2, distance=7, **WEAK),
    "a single sequence": Settings(t0=4, batch=1, sources=2, **WEAK),
    "l = 2": Settings(t0=4, batch=2, perturbed_position=2, **WEAK),
    "a direction": Settings(t0=4, batch=2, perturbation=Direction(torch.ones(32)), **WEAK),
    "another token": Settings(t0=4, batch=2, perturbation=Swap(7), **WEAK),
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request, single):
    try:
        return request.param, measure(single, KINDS[request.param])
    except NotImplementedError as error:
        pytest.skip(str(error))


def test_every_kind_is_read_as_it_was_written(kind, tmp_path):
    name, found = kind
    asked = KINDS[name]
    loaded = load_results(save_results(found, tmp_path / "results.nc"))
    assert schema(loaded) == schema(found)
    assert list(loaded.coords) == list(found.coords)
    assert loaded.attrs.items() >= found.attrs.items()
    assert load_results(save_results(loaded, tmp_path / "again.nc")).identical(loaded)
    for each in (found, loaded):
        assert measurement.description(measurement.settings_of(each)) == measurement.description(
            asked
        )


def test_every_kind_has_the_variables_that_it_can_have(kind):
    name, found = kind
    asked = KINDS[name]
    assert ("response" in found) == bool(asked.epsilons)
    assert ("linear" in found) == asked.linear
    assert found.sizes["epsilon"] == len(asked.epsilons)
    assert found.sizes["draw"] == (asked.sources or asked.t)
    expected = asked.peak is not None
    assert (found.attrs["distance"] != "none") == expected
    for prefix, measured in (("", bool(asked.epsilons)), ("linear_", asked.linear)):
        assert (f"{prefix}last_sum" in found) == measured
        for place in ("peak", "window"):
            assert (f"{prefix}{place}_log_n" in found) == (measured and expected)
    assert ("pairs" in found) == (expected and asked.linear)
    if expected:
        middle = asked.peak + 1
        near = [d for d in range(middle - 5, middle + 6) if 0 <= d < asked.t]
        assert found.window.values.tolist() == near
        assert response.peak_distance(found) == asked.peak


def test_every_kind_has_its_bootstrap(kind):
    _, found = kind
    means = response.resample(found, 200, np.random.default_rng(0))
    prefixes = [prefix for prefix in ("", "linear_") if f"{prefix}last_sum" in found]
    for prefix in prefixes:
        average = found["linear" if prefix else "response"].isel(position=-1)
        mean = means[f"{prefix}last_mean"]
        first = mean.isel(resample=0).transpose(*average.dims)
        if found.sizes["sequence"] > 1:
            np.testing.assert_allclose(first, average, rtol=1e-5, atol=1e-6)
            known = found.n_pairs.min("sequence") > 0
            error = mean.isel(resample=slice(1, None)).std("resample").where(known)
            expected = response.error_over_pairs(found[f"{prefix}last_sum"], found.n_pairs)
            ratio = float((error / expected).where(expected > 0).median())
            # The bootstrap of n sequences is too small by (n - 1) / n.
            assert ratio == pytest.approx(np.sqrt(1 - 1 / found.sizes["sequence"]), rel=0.1)
        geometric = found[f"{prefix}geometric"].isel(position=-1)
        first = means[f"{prefix}last_geometric"].isel(resample=0).transpose(*geometric.dims)
        if found.sizes["sequence"] > 1:
            np.testing.assert_allclose(first, geometric, rtol=1e-5)
        assert (f"{prefix}peak_mean" in means) == ("window" in found.dims)


@pytest.mark.parametrize("quick", [False, True])
def test_every_kind_agrees_with_itself_and_not_with_another(kind, single, tmp_path, quick):
    _, found = kind
    loaded = load_results(save_results(found, tmp_path / "results.nc"))
    outcome = verify(loaded, single, quick=quick)
    assert outcome.agrees
    assert outcome.compared > 100
    compared = "witness" if "witness" in loaded else "linear_witness"
    loaded[compared] = loaded[compared] * 1.01
    assert not verify(loaded, single, quick=quick).agrees


def test_mean_over_drawn_sources_is_that_of_their_pairs(gpt2):
    asked = dataclasses.replace(SETTINGS, sources=3)
    found = measure(gpt2, asked)
    every = measure(gpt2, SETTINGS)
    np.testing.assert_array_equal(found.tokens, every.tokens)
    for s, sources in enumerate(found.sources.values):
        for k, i in enumerate(sources):
            for place, distance in enumerate(found.pair_distance.values):
                if i + distance < 14:
                    expected = every.pairs[0, s, i, place]
                    np.testing.assert_allclose(found.pairs[0, s, k, place], expected, rtol=1e-9)
    alone = measure(gpt2, dataclasses.replace(SETTINGS, batch=1))
    drawn = found.sources.values[0]
    matrix = alone.linear_matrix.sel(metric="delta").values
    for distance in range(14):
        inside = [i for i in drawn if i + distance < 14]
        mean = np.mean([matrix[i, i + distance] for i in inside]) if inside else np.nan
        np.testing.assert_allclose(
            found.linear_witness.sel(metric="delta", delta_j=distance)[-1], mean, rtol=1e-6
        )
    perturbed = np.isin(np.arange(14), found.sources)
    known = ~np.isnan(found.linear_matrix.sel(metric="delta")).all("target").values
    np.testing.assert_array_equal(known, perturbed)


def test_drawn_sources_give_the_mean_of_all_within_its_error(gpt2):
    """Few sources of many sequences: the mean over pairs, and errors that are as large as it is."""
    asked = Settings(t0=6, batch=60, epsilons=(), seed=3, sequences_per_chunk=60)
    every = measure(gpt2, asked).linear.sel(metric="delta").isel(position=-1)
    off = []
    tokens = settings.tokens_of(asked, CONTEXT, VOCABULARY)
    some = {"t0": 6, "epsilons": (), "sources": 3, "sequences_per_chunk": 60}
    for seed in range(4):
        found = measure(gpt2, Settings.for_tokens(tokens, seed=seed, **some))
        at = {"metric": "delta", "position": 2 * LAYERS}
        known = (found.n_pairs > 0).sum("sequence") > 10
        off.append(((found.linear - every) / found.linear_sem).sel(at).where(known, drop=True))
    off = np.concatenate(off)
    # The tokens are the same, so only the draw of the sources scatters: less than the error says.
    assert 0.3 < np.sqrt((off**2).mean()) < 1.1
    assert abs(off).max() < 4


def test_number_type_of_products_is_chosen_by_its_effect(gpt2, monkeypatch):
    whole = choice.linear_inner_products

    def off(tokens, model, **asked):
        factor = {"float32": 1, "bfloat16": 1.004, "tf32": 1.03}[asked.pop("products")] ** 2
        found = whole(tokens, model, **asked)
        return dataclasses.replace(found, response_response=factor * found.response_response)

    monkeypatch.setattr(choice, "linear_inner_products", off)
    small = Settings(t0=3, batch=1, epsilons=(), products="bfloat16")
    found = measure(gpt2, small)
    assert found.attrs["products"] == "bfloat16"
    assert found.attrs["products_effect"] == pytest.approx(0.004)
    auto = dataclasses.replace(small, products="auto")
    for faster, chosen in (
        ([], "float32"),
        (["tf32"], "float32"),
        (["tf32", "bfloat16"], "bfloat16"),
    ):
        monkeypatch.setattr(choice, "_faster_than_float32", lambda model, kinds=faster: kinds)
        assert measure(gpt2, auto).attrs["products"] == chosen


def test_a_faster_number_type_is_found_by_its_measured_speed(gpt2, monkeypatch):
    seconds = {"float32": 3.0, "bfloat16": 2.0}
    tried = []

    def timed(layer, kind, rows):
        tried.append((kind, rows))
        return seconds[kind]

    monkeypatch.setattr(choice, "_seconds_of_product", timed)
    assert choice._faster_than_float32(gpt2) == ["bfloat16"]
    seconds["bfloat16"] = 2.9
    assert choice._faster_than_float32(gpt2) == []
    seconds["bfloat16"] = 1800.0
    tried.clear()
    assert choice._faster_than_float32(gpt2) == []
    # One without units for the type is not asked for many rows.
    assert max(rows for kind, rows in tried if kind == "bfloat16") < 100


def test_modules_that_ran_by_subtraction_are_named(gpt2, monkeypatch):
    whole = sums.linear_inner_products

    def named(tokens, model, **asked):
        names = ("h.1.mlp",) if len(tokens) == 1 else ("h.0.mlp", "h.1.mlp")
        return dataclasses.replace(whole(tokens, model, **asked), fallback_modules=names)

    monkeypatch.setattr(sums, "linear_inner_products", named)
    found = measure(gpt2, Settings(t0=3, batch=3, epsilons=(), sequences_per_chunk=2))
    assert found.attrs["fallback_modules"] == "h.0.mlp, h.1.mlp"


def test_a_position_that_the_model_does_not_have(gpt2):
    with pytest.raises(ValueError, match=one_line("perturbed_position=9: [^\n]*0 to 6")):
        measure(gpt2, Settings(t0=3, batch=1, perturbed_position=9))


def test_results_cannot_be_written_into_a_folder(single, tmp_path, monkeypatch):
    monkeypatch.setattr(MEASURE, "measure", pytest.fail)
    with pytest.raises(ValueError, match=one_line("out=[^\n]*folder")):
        measurement.measure_into(tmp_path, single, SETTINGS)


# files of the version before ---------------------------------------------------------------------


def old(dataset):
    """As version 2 had it."""
    n, t0 = dataset.n_pairs, dataset.attrs["t0"]
    near = response.pairs_at(dataset, "window")
    variables = {
        "last_response": dataset.last_sum / n,
        "peak_response": dataset.peak_sum / (2 * t0 - (t0 - 1)),
        "window_response": dataset.window_sum / near,
        "last_linear": dataset.linear_last_sum / n,
        "floor": xr.full_like(dataset.linear, 1e-8),
    }
    kept = ["tokens", "response", "response_sem", "matrix", "witness", "linear", "linear_sem"]
    attributes = {
        name: value
        for name, value in dataset.attrs.items()
        if name in {"t0", "batch", "epsilon0", "seed", "input", "dtype", "model", "weights_sha256"}
    }
    made = dataset[kept].drop_vars("pair_distance", errors="ignore").assign(variables)
    return made.transpose("metric", "epsilon", "sequence", ...).assign_attrs(
        attributes, schema_version=2
    )


@pytest.fixture(scope="module")
def version2(shipped, tmp_path_factory):
    return load_results(save_results(old(shipped), tmp_path_factory.mktemp("old") / "old.nc"))


def test_version_2_is_read_under_the_names_of_version_3(shipped, version2):
    for name in ("last_sum", "peak_sum", "window_sum", "linear_last_sum"):
        assert version2[name].dims == shipped[name].dims
        np.testing.assert_allclose(version2[name], shipped[name], rtol=2e-3, atol=2e-2)
    for name in ("sources", "n_pairs"):
        np.testing.assert_array_equal(version2[name], shipped[name])
    assert "floor" not in version2
    assert measurement.settings_of(version2) == measurement.settings_of(shipped)


def test_version_2_agrees_within_its_noise(single, version2):
    assert verify(version2, single).agrees
    assert verify(version2, single, quick=True).agrees
    for name, at in (("witness", (0, 1, -1, 3)), ("linear_witness", (0, -1, 3))):
        changed = version2.copy(deep=True)
        changed[name][at] *= 1.01
        assert not verify(changed, single).agrees


# results that are there already ------------------------------------------------------------------


SMALL = Settings(t0=3, batch=2, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)


@pytest.fixture
def counted(single, monkeypatch):
    """Counts measurements of a model called `tiny`."""
    calls = []

    def counting(model, settings, progress=False, shards=None, executor=None):
        calls.append(settings)
        return measure(single, settings, progress).assign_attrs(model=model)

    monkeypatch.setattr(MEASURE, "measure", counting)
    return calls


def test_results_are_measured_once(counted, tmp_path):
    first = results_for("tiny", SMALL, tmp_path)
    second = results_for("tiny", SMALL, tmp_path)
    assert counted == [SMALL]
    xr.testing.assert_equal(first, second)
    assert len(list(tmp_path.iterdir())) == 1


def test_any_file_name_will_do(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / "renamed.nc")
    results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"t0": 4},
        {"batch": 1},
        {"epsilons": (0.02, 0.05)},
        {"epsilons": (0.01, 0.05, 0.2, 0.3)},
        {"epsilon0": 0.01},
        {"seed": 8},
        {"sources": 2},
        {"distance": 1},
        {"distinct": True},
    ],
)
def test_other_settings_are_measured(counted, tmp_path, change):
    other = dataclasses.replace(SMALL, **change)
    results_for("tiny", SMALL, tmp_path)
    results_for("tiny", other, tmp_path)
    assert counted == [SMALL, other]
    assert len(list(tmp_path.iterdir())) == 2


def test_strengths_among_those_measured_are_taken(counted, tmp_path):
    more = results_for("tiny", SMALL, tmp_path)
    fewer = dataclasses.replace(SMALL, epsilons=(0.2, 0.05))
    found = results_for("tiny", fewer, tmp_path)
    assert counted == [SMALL]
    assert measurement.settings_of(found).epsilons == fewer.epsilons
    anew = measure_into(tmp_path / "elsewhere.nc", "tiny", fewer)
    for name in ("response", "last_sum", "witness", "linear", "matrix"):
        xr.testing.assert_allclose(found[name], anew[name], rtol=1e-3, atol=1e-6)
    assert numbers(found).identical(numbers(more.sel(epsilon=list(fewer.epsilons))))


def test_other_model_is_measured(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    results_for("owner/other", SMALL, tmp_path)
    assert len(counted) == len(list(tmp_path.iterdir())) == 2


def test_device_and_chunks_are_not_compared(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    elsewhere = dataclasses.replace(SMALL, device="cpu", sequences_per_chunk=1)
    results_for("tiny", elsewhere, tmp_path)
    assert len(counted) == 1


def test_results_without_the_limit_do_not_serve_who_asks_for_it(counted, tmp_path):
    without = dataclasses.replace(SMALL, linear=False)
    results_for("tiny", without, tmp_path)
    assert "linear" in results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 2
    # Who does not ask is served by either.
    results_for("tiny", without, tmp_path)
    assert len(counted) == 2


def test_architecture_of_results(dataset):
    found = response.architecture_of(dataset)
    assert (found["layers"], found["width"], found["vocabulary"]) == (LAYERS, 32, VOCABULARY)
    # Not those of the bridge, which splits joint weights of queries, keys and values into copies.
    weights = tiny_hf_model("gpt2").parameters()
    assert found["parameters"] == sum(weight.numel() for weight in weights)


def test_settings_of_results(dataset):
    found = measurement.settings_of(dataset)
    assert found == dataclasses.replace(SETTINGS, dtype="float64")
    less = measurement.settings_of(dataset.drop_vars("linear"))
    assert less == dataclasses.replace(found, linear=False)
