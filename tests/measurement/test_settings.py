"""What is measured: settings, what is drawn, and the description that tells measurements apart."""

import dataclasses

import numpy as np
import pytest
import torch
from measured import SETTINGS
from messages import one_line
from tiny_models import CONTEXT
from universal_response import Settings, measure, measurement, repeated_random_tokens
from universal_response.measurement import settings
from universal_response.perturbation import Direction, RandomDirection, Scaling, Swap
from universal_response.sequences import Arrangement, stratified_sources


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
        ("arrangement", {"arrangement": Arrangement(gap=1), "t0": 0, "tokens": ((1, 2, 3),)}),
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
    assert (min(default.epsilons), max(default.epsilons)) == (1e-5, 0.5)
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
        ({"arrangement": Arrangement()}, True),
        ({"arrangement": Arrangement(gap=1)}, False),
        ({"arrangement": Arrangement(bos=True)}, False),
        ({"perturbation": RandomDirection(0)}, False),
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


def test_settings_of_results(dataset):
    found = measurement.settings_of(dataset)
    assert found == dataclasses.replace(SETTINGS, dtype="float64")
    less = measurement.settings_of(dataset.drop_vars("linear"))
    assert less == dataclasses.replace(found, linear=False)
