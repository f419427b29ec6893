"""Every kind of input: measured, stored, resampled and verified."""

import dataclasses

import numpy as np
import pytest
import torch
from measured import MEASURE, SETTINGS, measured, numbers, shapes
from messages import one_line
from tiny_models import CONTEXT, LAYERS, VOCABULARY
from universal_response import (
    Arrangement,
    Settings,
    load_results,
    measure,
    measurement,
    response,
    save_results,
    verify,
)
from universal_response.measurement import settings, sums
from universal_response.measurement.schema import as_stored
from universal_response.perturbation import Direction, RandomDirection, Swap
from universal_response.propagation import choice

pytestmark = pytest.mark.slow


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
    "drawn with a gap": Settings(t0=5, batch=2, arrangement=Arrangement(gap=3), **WEAK),
    "drawn and shuffled": Settings(
        t0=5, batch=2, arrangement=Arrangement(later="shuffled"), distance=4, **WEAK
    ),
    "other tokens three times": Settings(
        t0=4, batch=2, arrangement=Arrangement(later="other", copies=3), **WEAK
    ),
    "8 sources": Settings(t0=8, batch=3, sources=8, seed=1, **WEAK),
    "8 sources of a text": Settings.for_tokens(rows("a", "b"), sources=8, seed=1, **WEAK),
    "distinct tokens": Settings(t0=5, batch=3, distinct=True, linear=False, **WEAK),
    "a peak at the end": Settings(t0=4, batch=2, distance=7, **WEAK),
    "a single sequence": Settings(t0=4, batch=1, sources=2, **WEAK),
    "l = 2": Settings(t0=4, batch=2, perturbed_position=2, **WEAK),
    "a direction": Settings(t0=4, batch=2, perturbation=Direction(torch.ones(32)), **WEAK),
    "a random direction": Settings(t0=4, batch=2, perturbation=RandomDirection(3), **WEAK),
    "another token": Settings(t0=4, batch=2, perturbation=Swap(7), **WEAK),
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request, single):
    return request.param, measured(single, KINDS[request.param])


@pytest.fixture(scope="module")
def stored_kind(kind, tmp_path_factory):
    return load_results(save_results(kind[1], tmp_path_factory.mktemp("kind") / "results.nc"))


def test_every_kind_is_read_as_it_was_written(kind, stored_kind):
    (name, found), loaded = kind, stored_kind
    asked = KINDS[name]
    assert shapes(loaded) == shapes(found)
    assert list(loaded.coords) == list(found.coords)
    assert loaded.attrs.items() >= found.attrs.items()
    # To the bit, and so it is when it is written again: what is rounded stays as it is.
    assert numbers(loaded).identical(numbers(as_stored(found)))
    assert as_stored(loaded).identical(loaded)
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
    for prefix, there in (("", bool(asked.epsilons)), ("linear_", asked.linear)):
        assert (f"{prefix}last_sum" in found) == there
        for place in ("peak", "window"):
            assert (f"{prefix}{place}_log_n" in found) == (there and expected)
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
def test_every_kind_agrees_with_itself_and_not_with_another(stored_kind, single, quick):
    outcome = verify(stored_kind, single, quick=quick)
    assert outcome.agrees
    assert outcome.compared > 100
    compared = "witness" if "witness" in stored_kind else "linear_witness"
    other = stored_kind.assign({compared: stored_kind[compared] * 1.01})
    assert not verify(other, single, quick=quick).agrees


def test_mean_over_drawn_sources_is_that_of_their_pairs(gpt2, dataset):
    asked = dataclasses.replace(SETTINGS, sources=3)
    found = measure(gpt2, asked)
    np.testing.assert_array_equal(found.tokens, dataset.tokens)
    for s, sources in enumerate(found.sources.values):
        for k, i in enumerate(sources):
            for place, distance in enumerate(found.pair_distance.values):
                if i + distance < 14:
                    expected = dataset.pairs[0, s, i, place]
                    np.testing.assert_allclose(found.pairs[0, s, k, place], expected, rtol=1e-9)
    alone = measured(gpt2, dataclasses.replace(SETTINGS, batch=1))
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
