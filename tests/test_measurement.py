"""Settings, the results and their schema, files, and verification."""

import contextlib
import dataclasses
import json

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
    measurement,
    repeated_random_tokens,
    results_for,
    save_results,
    verify,
)
from universal_response.metrics import LINEAR_METRICS
from universal_response.propagation import linear_inner_products

METRICS = ["delta", "phi", "theta_source", "theta_state", "theta_perturbation"]
SETTINGS = Settings(t0=7, batch=4, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)
PROVENANCE = {"model", "weights_sha256", "quantisation"}
ATTRIBUTES = PROVENANCE | {
    "schema_version",
    "t0",
    "batch",
    "epsilon0",
    "seed",
    "input",
    "dtype",
    "device",
    "architecture",
    "floor_epsilon",
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
        ("epsilons", {"epsilons": ()}),
        ("epsilons", {"epsilons": (0.0, 0.05)}),
        ("epsilons", {"epsilons": (-0.1, 0.05)}),
        ("epsilons", {"epsilons": (0.05, 1.01)}),
        ("epsilons", {"epsilons": (0.05, float("nan"))}),
        ("epsilons", {"epsilons": (0.05, 0.1, 0.05)}),
        ("epsilon0", {"epsilon0": 0.04}),
        ("seed", {"seed": -1}),
        ("dtype", {"dtype": "int8"}),
        ("sequences_per_chunk", {"sequences_per_chunk": 0}),
    ],
)
def test_bad_setting_is_named_in_one_line(name, bad):
    with pytest.raises(ValueError, match=one_line(f"{name}[=:]")):
        Settings(**bad)


def test_settings_are_frozen_and_keyword_only():
    settings = Settings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.t0 = 3
    with pytest.raises(TypeError):
        Settings(64)
    assert (settings.t0, settings.epsilon0, settings.seed) == (64, 0.05, 0)


def test_unless_told_otherwise_the_scale_is_that_of_the_paper():
    settings = Settings()
    assert (settings.batch, settings.noise_floor, settings.linear) == (32, True, True)
    assert len(settings.epsilons) >= 12
    assert (min(settings.epsilons), max(settings.epsilons)) == (3e-4, 0.5)
    assert {0.03, 0.05, 0.1} <= set(settings.epsilons)


def test_strength_one_is_allowed():
    assert Settings(epsilons=(0.05, 1.0)).epsilons == (0.05, 1.0)


def test_sequence_longer_than_the_context(gpt2):
    t0 = CONTEXT // 2 + 1
    with pytest.raises(ValueError, match=one_line(f"t0={t0}: [^\n]*{CONTEXT}")):
        measure(gpt2, Settings(t0=t0, batch=1))


# the results -------------------------------------------------------------------------------------


def test_schema(dataset):
    t, n = 2 * SETTINGS.t0, 2 * LAYERS + 1
    by_epsilon = ("metric", "epsilon", "position", "delta_j")
    by_position = ("metric", "position", "delta_j")
    assert {name: (array.dims, array.shape) for name, array in dataset.data_vars.items()} == {
        "tokens": (("sequence", "token"), (4, t)),
        "response": (by_epsilon, (5, 3, n, t)),
        "response_sem": (by_epsilon, (5, 3, n, t)),
        "matrix": (("metric", "source", "target"), (5, t, t)),
        "witness": (by_epsilon, (5, 3, n, t)),
        "last_response": (("metric", "epsilon", "sequence", "delta_j"), (5, 3, 4, t)),
        "peak_response": (("metric", "epsilon", "sequence", "position"), (5, 3, 4, n)),
        "window_response": (("metric", "sequence", "position", "window"), (5, 4, n, 11)),
        "floor": (by_position, (5, n, t)),
        "linear": (by_position, (5, n, t)),
        "linear_sem": (by_position, (5, n, t)),
        "last_linear": (("metric", "sequence", "delta_j"), (5, 4, t)),
    }
    assert dataset.attrs["schema_version"] == 2
    assert dataset.metric.values.tolist() == METRICS
    assert tuple(dataset.epsilon.values) == SETTINGS.epsilons
    assert dataset.position.values.tolist() == list(range(n))
    assert dataset.delta_j.values.tolist() == list(range(t))
    assert dataset.window.values.tolist() == list(range(SETTINGS.t0 - 5, SETTINGS.t0 + 6))
    assert dataset.layer.values.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dataset.sublayer.values.tolist() == ["input", *["attention", "mlp"] * LAYERS]
    assert dataset.tokens.dtype == np.int64
    for name in set(dataset.data_vars) - {"tokens"}:
        error = name in ("response_sem", "linear_sem", "floor")
        assert dataset[name].dtype == (np.float32 if error else np.float64), name
        assert np.isfinite(dataset[name]).all()


def test_attributes(dataset):
    attrs = dataset.attrs
    assert set(attrs) == ATTRIBUTES
    assert all(attrs[name] == "unknown" for name in PROVENANCE)
    assert (attrs["t0"], attrs["batch"], attrs["epsilon0"], attrs["seed"]) == (7, 4, 0.05, 7)
    assert attrs["dtype"] == "float64"  # of the model, not of the settings
    assert {"python", "torch", "transformer-lens", "universal-response"} <= set(
        json.loads(attrs["versions"])
    )
    assert attrs["schema_version"] == measurement.SCHEMA_VERSION
    assert attrs["device"].startswith("cpu")
    assert attrs["input"] == "repeated random tokens"
    assert attrs["wall_time_s"] > 0


def half_a_unit(name):
    """Largest relative error of a number that is rounded for a file."""
    return 2.0 ** -(measurement.STORED_BITS[name] + 1)


def test_numbers_of_a_single_precision_model(shipped):
    assert shipped.attrs["dtype"] == "float32"
    assert {*shipped.data_vars} == {*measurement.STORED_BITS, "tokens"}
    for name in measurement.STORED_BITS:
        assert shipped[name].dtype == np.float32, name


def test_stored_numbers_are_the_nearest_with_so_many_bits(shipped, stored):
    for name, bits in measurement.STORED_BITS.items():
        assert stored[name].dtype == np.float32
        mask = (1 << 23 - bits) - 1
        dropped = [array[name].values.view(np.uint32) & mask for array in (stored, shipped)]
        assert (dropped[0] == 0).all(), name
        assert (dropped[1] > 0).mean() > 0.3, name
        np.testing.assert_allclose(
            stored[name], shipped[name], rtol=1.001 * half_a_unit(name), atol=0, err_msg=name
        )


def test_what_is_averaged_is_stored_no_better_than_its_average():
    bits = measurement.STORED_BITS
    assert bits["response"] > bits["witness"] >= bits["last_response"] > bits["response_sem"]
    # A response is known to 1e-5, what `verify` compares to well below its 1e-3.
    assert half_a_unit("response") < 1e-5
    assert half_a_unit("witness") < 2e-4


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


def test_responses_of_each_sequence(dataset, plain_matrices):
    """At the last position, at dj = T0 - 1, and near the peak at the reference strength."""
    reference, near = SETTINGS.epsilons.index(0.05), slice(SETTINGS.t0 - 5, SETTINGS.t0 + 6)
    for metric, matrix in plain_matrices.items():
        # (position, epsilon, sequence, delta_j)
        each = plain.response_function(matrix)
        expected = {
            "last_response": each[-1],
            "peak_response": each[..., SETTINGS.t0 - 1].permute(1, 2, 0),
            "window_response": each[:, reference, :, near].transpose(0, 1),
        }
        for name, values in expected.items():
            found = dataset[name].sel(metric=metric)
            np.testing.assert_allclose(
                found, values, rtol=1e-6, atol=tolerance(metric), err_msg=f"{name} {metric}"
            )


def rounding_of(dataset, name):
    """Relative rounding error of a variable: in memory, or as it was stored."""
    if dataset[name].dtype == np.float64:
        return 1e-12
    return half_a_unit(name) if "content_sha256" in dataset.attrs else 1e-6


@pytest.mark.parametrize("kind", ["dataset", "shipped", "stored"])
def test_mean_over_sequences_is_the_response(request, kind):
    found = request.getfixturevalue(kind)
    last = {"position": 2 * LAYERS}
    near = {"epsilon": 0.05, "delta_j": found.window.values}
    means = {
        "last_response": ("response", last, "delta_j"),
        "peak_response": ("response", {"delta_j": SETTINGS.t0 - 1}, "position"),
        "window_response": ("response", near, "window"),
        "last_linear": ("linear", last, "delta_j"),
    }
    for name, (average, at, dim) in means.items():
        each, expected = found[name], found[average].sel(at)
        mean = each.mean("sequence", dtype=float)
        assert mean.dims[-1] == dim
        # Cosines of either sign may cancel in the mean: what counts is the size of the terms.
        relative = rounding_of(found, name) + rounding_of(found, average)
        allowed = 1.001 * relative * abs(each).max("sequence")
        assert (abs(mean.values - expected.values) <= allowed.values).all(), name


@pytest.mark.parametrize("kind", ["dataset", "shipped", "stored"])
def test_spread_over_sequences_is_the_standard_error(request, kind):
    found = request.getfixturevalue(kind)
    pairs = {"last_response": "response_sem", "last_linear": "linear_sem"}
    for name, error in pairs.items():
        each, expected = found[name].astype(float), found[error].isel(position=-1)
        spread = each.std("sequence", ddof=1) / np.sqrt(4)
        slack = rounding_of(found, error) * spread
        slack = slack + 2 * rounding_of(found, name) * abs(each).max("sequence")
        assert (abs(spread - expected) <= 1.001 * slack).all(), name


def test_limit_is_the_mean_of_linear_matrices_along_diagonals(gpt2, dataset):
    products = linear_inner_products(torch.from_numpy(dataset.tokens.values), gpt2)
    for metric in METRICS:
        each = plain.response_function(LINEAR_METRICS[metric](products)[:, 0]).numpy()
        at = {"metric": metric}
        np.testing.assert_allclose(dataset.linear.sel(at), each.mean(1), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(dataset.last_linear.sel(at), each[-1], rtol=1e-6, atol=1e-9)
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
    gone = {"linear", "linear_sem", "last_linear"}
    assert set(dataset.data_vars) - set(found.data_vars) == gone
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
    np.testing.assert_allclose(dataset.witness, alone.response, rtol=1e-6, atol=1e-6)
    last = dataset.last_response.isel(sequence=0)
    np.testing.assert_array_equal(last, dataset.witness.isel(position=-1))
    xr.testing.assert_equal(alone.response, alone.witness.rename("response"))
    assert np.isnan(alone.response_sem).all()
    assert np.isnan(alone.linear_sem).all()
    assert not np.allclose(dataset.witness, dataset.response, rtol=1e-3, atol=1e-6)


def test_floor_is_the_rounding_error(shipped, dataset):
    size = shipped.response.sel(metric="delta", epsilon=0.01).isel(position=-1)
    floor = shipped.floor.sel(metric="delta").isel(position=-1)
    assert 0 < floor.max() < 1e-5 < size.min()
    # At the input one unit in the last place is all there is, and only at the source itself.
    at_input = shipped.floor.sel(metric="delta", position=0)
    assert 0 < at_input[0] < 2.0**-22
    assert (at_input[1:] == 0).all()
    # A double-precision GPT-2 rounds far below that: its floor is the response to 2^-23.
    assert 0 < dataset.floor.sel(metric="delta").max() < 2.0**-20


def test_floor_only_if_asked(gpt2, dataset):
    found = measure(gpt2, dataclasses.replace(SETTINGS, noise_floor=False))
    assert "floor" not in found
    np.testing.assert_allclose(found.response, dataset.response, rtol=1e-9, atol=1e-6)


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
        # The cosines of pure rounding errors may well differ.
        for name in {*measurement.STORED_BITS} - {"floor"}:
            np.testing.assert_allclose(
                chunked[name], dataset[name], rtol=1e-6, atol=1e-6, err_msg=name
            )


def test_chunks_are_as_large_as_asked(gpt2, monkeypatch):
    sizes = {"chunked_inner_products": [], "linear_inner_products": []}

    def watched(name):
        whole = getattr(measurement, name)

        def run(tokens, *arguments, **named):
            sizes[name].append(len(tokens))
            return whole(tokens, *arguments, **named)

        return run

    for name in sizes:
        monkeypatch.setattr(measurement, name, watched(name))
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
    whole = measurement.chunked_inner_products

    def watched(tokens, model, given, **named):
        chunks.extend(len(epsilons) for epsilons in given)
        return whole(tokens, model, given, **named)

    monkeypatch.setattr(measurement, "chunked_inner_products", watched)
    # Two strengths of two sequences of four tokens: eight float64 arrays at seven positions.
    monkeypatch.setitem(measurement.CHUNK_BYTES, "cpu", 2 * 8 * 8 * 7 * 2 * 16)
    found = measure(gpt2, many)
    assert chunks == [2, 2, 1]  # with the floor
    for name in {*measurement.STORED_BITS} - {"floor"}:
        np.testing.assert_allclose(found[name], together[name], rtol=1e-6, atol=1e-6, err_msg=name)
    chunks.clear()
    monkeypatch.setitem(measurement.CHUNK_BYTES, "cpu", 1)
    measure(gpt2, many)
    assert chunks == [1] * 5


def test_sequences_too_long_for_the_memory_are_told(gpt2, monkeypatch):
    monkeypatch.setattr(measurement, "device_memory", lambda device: 1000)
    with pytest.warns(UserWarning, match=one_line("[^\n]*4 tokens need[^\n]*GiB[^\n]*")):
        measure(gpt2, Settings(t0=2, batch=1, epsilons=(0.05,)))


def test_a_name_is_loaded_as_the_settings_say(gpt2, monkeypatch):
    asked = []

    def load(name, device, dtype, tokenizer, progress):
        asked.append((name, device, dtype, tokenizer))
        return gpt2

    monkeypatch.setattr(measurement, "load_model", load)
    measure("some/model", Settings(t0=3, batch=1, dtype="float64", device="cpu"))
    assert asked == [("some/model", "cpu", "float64", False)]


# files -------------------------------------------------------------------------------------------


def test_round_trip(dataset, tmp_path):
    before = dataset.copy(deep=True)
    path = save_results(dataset, tmp_path / "new" / "folder" / "results.nc")
    assert path == tmp_path / "new" / "folder" / "results.nc"
    loaded = load_results(path)
    # Errors are rounded; all other numbers of a double-precision model are as they were.
    errors = ["response_sem", "linear_sem", "floor"]
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
        "response",
        "response_sem",
        "matrix",
        "witness",
        "last_response",
        "peak_response",
        "window_response",
        "floor",
        "linear",
        "linear_sem",
        "last_linear",
    ],
)
def test_changed_number(saved, name):
    with h5py.File(saved, "r+") as file:
        values = file[name][...]
        values.flat[-1] += 1
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
    for place in range(0, len(whole), len(whole) // 60):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with contextlib.suppress(ValueError):
            xr.testing.assert_equal(load_results(saved), expected)


def test_text_file(tmp_path):
    path = tmp_path / "text.nc"
    path.write_text("C(i, j)\n1.0\n")
    with pytest.raises(ValueError, match=one_line(f"results={path}: ")):
        load_results(path)


@pytest.mark.parametrize("schema_version", [0, 1, 3, "2b"])
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
    # The limit of the first sequence is compared at the last position only.
    assert found.compared == stored.witness.size + stored.last_linear.isel(sequence=0).size
    # The witness is rounded to 12 bits.
    assert found.median_relative < half_a_unit("witness")


def test_results_agree_before_they_are_stored(single, shipped):
    assert verify(shipped, single).agrees


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


def test_quick_verification_takes_three_strengths_and_no_limit(single, stored):
    found = verify(stored, single, quick=True)
    assert found.agrees
    assert found.compared == stored.witness.size  # three strengths are all there are
    changed = stored.copy(deep=True)
    changed.last_linear[0, 0] *= 1.01
    assert verify(changed, single, quick=True).agrees
    changed.witness[0, 2, -1] *= 1.01
    assert not verify(changed, single, quick=True).agrees


@pytest.mark.parametrize("metric", METRICS)
def test_limit_off_by_one_percent_does_not_agree(single, stored, metric):
    changed = stored.copy(deep=True)
    at = {"metric": metric, "sequence": 0, "delta_j": 0}
    # The source turns little and a cosine is compared absolutely: 1 % of its largest value.
    changed.last_linear.loc[at] += 0.01 * float(abs(changed.last_linear.sel(metric=metric)).max())
    found = verify(changed, single)
    assert found.worst > 1
    assert found.where == {"metric": metric, "epsilon": 0, "position": 2 * LAYERS, "delta_j": 0}


@pytest.mark.parametrize("metric", METRICS)
def test_one_number_off_by_one_percent_does_not_agree(single, stored, metric):
    changed = stored.copy(deep=True)
    at = {"metric": metric, "epsilon": 0.05, "position": 2 * LAYERS, "delta_j": 0}
    changed.witness.loc[at] = changed.witness.loc[at] * 1.01
    found = verify(changed, single)
    assert not found.agrees
    assert found.worst > 1
    assert found.where == at


def test_witness_off_by_one_percent_does_not_agree(single, stored):
    changed = stored.copy(deep=True)
    changed["witness"] = changed.witness * 1.01
    assert not verify(changed, single).agrees


def test_other_weights_do_not_agree(stored):
    assert not verify(stored, tiny_model("qwen2")).agrees


def test_not_a_number_does_not_agree(single, stored):
    changed = stored.copy(deep=True)
    changed.witness[0, 1, 3, 2] = np.nan
    assert not verify(changed, single).agrees


def test_verification_refuses_other_tokens_and_a_missing_floor(single, stored):
    changed = stored.copy(deep=True)
    changed.tokens[0, 0] = (changed.tokens[0, 0] + 1) % VOCABULARY
    with pytest.raises(ValueError, match=one_line("tokens: ")):
        verify(changed, single)
    with pytest.raises(ValueError, match=one_line("floor: ")):
        verify(stored.drop_vars("floor"), single)


# results that are there already ------------------------------------------------------------------


SMALL = Settings(t0=3, batch=2, epsilons=(0.01, 0.05, 0.2), epsilon0=0.05, seed=7)


@pytest.fixture
def counted(single, monkeypatch):
    """Counts measurements of a model called `tiny`."""
    calls = []

    def counting(model, settings, progress=False, shards=None, executor=None):
        calls.append(settings)
        return measure(single, settings, progress).assign_attrs(model=model)

    monkeypatch.setattr(measurement, "measure", counting)
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
        {"epsilons": (0.01, 0.05)},
        {"epsilon0": 0.01},
        {"seed": 8},
    ],
)
def test_other_settings_are_measured(counted, tmp_path, change):
    other = dataclasses.replace(SMALL, **change)
    results_for("tiny", SMALL, tmp_path)
    results_for("tiny", other, tmp_path)
    assert counted == [SMALL, other]
    assert len(list(tmp_path.iterdir())) == 2


def test_other_model_is_measured(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    results_for("owner/other", SMALL, tmp_path)
    assert len(counted) == len(list(tmp_path.iterdir())) == 2


def test_device_and_chunks_are_not_compared(counted, tmp_path):
    results_for("tiny", SMALL, tmp_path)
    elsewhere = dataclasses.replace(SMALL, device="cpu", sequences_per_chunk=1)
    results_for("tiny", elsewhere, tmp_path)
    assert len(counted) == 1


def test_results_without_a_floor_do_not_serve_who_asks_for_one(counted, tmp_path):
    results_for("tiny", dataclasses.replace(SMALL, noise_floor=False), tmp_path)
    assert "floor" in results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 2


def test_results_without_the_limit_do_not_serve_who_asks_for_it(counted, tmp_path):
    without = dataclasses.replace(SMALL, linear=False)
    results_for("tiny", without, tmp_path)
    assert "linear" in results_for("tiny", SMALL, tmp_path)
    assert len(counted) == 2
    # Who does not ask is served by either.
    results_for("tiny", without, tmp_path)
    assert len(counted) == 2


def test_architecture_of_results(dataset):
    found = measurement.architecture_of(dataset)
    assert (found["layers"], found["width"], found["vocabulary"]) == (LAYERS, 32, VOCABULARY)
    # Not those of the bridge, which splits joint weights of queries, keys and values into copies.
    weights = tiny_hf_model("gpt2").parameters()
    assert found["parameters"] == sum(weight.numel() for weight in weights)


def test_settings_of_results(dataset):
    found = measurement.settings_of(dataset)
    assert found == dataclasses.replace(SETTINGS, dtype="float64")
    less = measurement.settings_of(dataset.drop_vars(["floor", "linear"]))
    assert less == dataclasses.replace(found, noise_floor=False, linear=False)
