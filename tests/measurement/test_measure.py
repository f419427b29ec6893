"""The numbers of the results, against matrices of the plain loop."""

import dataclasses

import numpy as np
import plain
import pytest
import torch
import xarray as xr
from measured import MEASURE, SETTINGS, half_a_unit, measured, numbers, scale, without_run
from messages import one_line
from tiny_models import LAYERS, VOCABULARY
from universal_response import (
    Arrangement,
    Settings,
    measure,
    measurement,
    repeated_random_tokens,
    response,
    verify,
)
from universal_response.measurement import memory, subject, sums
from universal_response.metrics import COSINES, LINEAR_METRICS, METRICS
from universal_response.propagation import linear_inner_products


def test_tokens_are_those_of_the_seed(dataset):
    expected = repeated_random_tokens(7, 4, VOCABULARY, np.random.default_rng(7))
    assert np.array_equal(dataset.tokens, expected)


@pytest.mark.parametrize("bos", [3, None, VOCABULARY])
def test_sequences_begin_with_the_bos_token_of_the_model(gpt2, monkeypatch, bos):
    monkeypatch.setattr(gpt2.original_model.config, "bos_token_id", bos)
    asked = Settings(t0=4, batch=2, epsilons=(), arrangement=Arrangement(bos=True))
    if bos != 3:
        with pytest.raises(ValueError, match=one_line("bos: the model has no BOS token; leave ")):
            measure(gpt2, asked)
        return
    found = measure(gpt2, asked)
    assert found.tokens.shape == (2, 9)
    assert (found.tokens[:, 0] == 3).all()
    assert (found.attrs["bos"], found.attrs["input"]) == (1, "repeated random tokens")
    assert measurement.settings_of(found).arrangement == asked.arrangement
    assert verify(found, gpt2).agrees


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
    cosines = dataset.sel(metric=list(COSINES))
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
    alone = measured(gpt2, dataclasses.replace(SETTINGS, batch=1))
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
