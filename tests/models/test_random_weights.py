"""Random weights: the architecture of a model, and nothing that it has learned."""

import numpy as np
import pytest
import torch
from messages import one_line
from universal_response import Settings, load_model, measure, models, verify

NAME = "gpt2-induction"
RANDOM = f"{NAME}@random"
LIMIT = Settings(t0=8, batch=2, epsilons=(), sources=4)


@pytest.fixture(scope="module")
def trained():
    return load_model(NAME, "cpu", tokenizer=False)


@pytest.fixture(scope="module")
def random():
    return load_model(RANDOM, "cpu", tokenizer=False)


def weights(model):
    return {name: each.detach() for name, each in model.original_model.named_parameters()}


def test_architecture_is_that_of_the_model_and_no_weight_is(random, trained):
    expected = models.architecture(trained) | {"model": "GPT-2, 4 layers, random weights"}
    assert models.architecture(random) == expected
    there, here = weights(trained), weights(random)
    assert there.keys() == here.keys()
    for name, values in here.items():
        assert values.shape == there[name].shape
        if values.ndim > 1:
            assert not torch.isclose(values, there[name]).any(dim=1).all(), name


def test_matrices_are_normal_and_gains_are_as_they_begin(random):
    spread = random.original_model.config.initializer_range
    for name, values in weights(random).items():
        if values.ndim > 1:
            assert float(values.std()) == pytest.approx(spread, rel=0.03), name
            assert abs(float(values.mean())) < 4 * spread / values.numel() ** 0.5, name
        else:
            expected = 1 if "ln_" in name and name.endswith("weight") else 0
            assert (values == expected).all(), name


def test_they_are_the_same_whenever_they_are_drawn(random):
    torch.manual_seed(5)
    again = load_model(RANDOM, "cpu", tokenizer=False)
    for name, values in weights(again).items():
        assert (values == weights(random)[name]).all(), name


def test_their_digest_is_that_of_no_other_weights(random, trained):
    digests = {each.provenance.weights_sha256 for each in (random, trained)}
    digests |= {models.weights_sha256(f"{each}@random") for each in ("smollm2-135m", NAME)}
    assert len(digests) == 3
    assert random.provenance.model == RANDOM
    assert models.weights_sha256(RANDOM) == random.provenance.weights_sha256
    assert models.random_digest("unknown") == "unknown"


def test_results_are_verified_by_name(random):
    found = measure(random, LIMIT)
    assert found.attrs["model"] == RANDOM
    assert verify(found).agrees
    other = measure(NAME, LIMIT)
    with pytest.raises(ValueError, match=one_line("weights_sha256=")):
        verify(other, random)
    assert not np.allclose(found.linear, other.linear, rtol=0.1)


def test_an_unknown_model_has_none(tmp_path):
    for name in ("nothing@random", f"{tmp_path}/nowhere/at/all@random"):
        with pytest.raises(ValueError, match=one_line(f"model={name}: neither a registered")):
            load_model(name)
