"""The shipped GPT-2 does induction, and its film shows how that came about.

To train it again, for a quarter of an hour on one core:

TRAIN_AGAIN=1 .venv/bin/pytest tests/training/test_gpt2_trained.py -k trained_again
"""

import json
import os

import numpy as np
import pytest
import torch
from shipped import RESULTS, shipped_results
from universal_response import Settings, load_model, measure, models
from universal_response.sequences import Arrangement, arranged_random_tokens, repeated_random_tokens
from universal_response.training import gpt2
from universal_response.training.gpt2 import Gpt2Settings, Network, Probe, verify_film

pytestmark = pytest.mark.slow

NAME = "gpt2-induction"
T0, GAP = 64, 16
# Asked for before the model was trained.
AT_LEAST = {Probe(64): 0.95, Probe(64, 16): 0.9, Probe(48, 16): 0.9, Probe(64, 0, 128): 0.95}
SMALL = 0.5  # what stands beside the peak, as a part of it
SHARE = 0.6  # of C at T0 - 1 and T0 together
FROM = 5  # position after the third attention sublayer, in which the induction heads are


def beside(values, peak, half_width=5):
    """The largest other value of the window, as a part of the peak."""
    near = np.arange(peak + 1 - half_width, peak + 2 + half_width)
    return max(values[near[near != peak]]) / values[peak]


@pytest.fixture(scope="module")
def model():
    return load_model(NAME, device="cpu", tokenizer=False)


@pytest.fixture(scope="module")
def provenance():
    return json.loads((models.SHIPPED / NAME / "provenance.json").read_text())


def check_behaviour(accuracies):
    for probe, least in AT_LEAST.items():
        assert accuracies[probe.name] > least, probe


def check_response(model, gap):
    """At finite strength and in the limit, from the induction heads on to the end."""
    peak = T0 - 1 + gap
    generator = np.random.default_rng(7)
    tokens = arranged_random_tokens(T0, 2, 512, generator, Arrangement(gap=gap), True)
    # A few sources of the first block: those that meet themselves again.
    settings = Settings.for_tokens(tokens, distance=peak, epsilons=(0.05,), sources=24)
    found = measure(model, settings).sel(metric="delta")
    for response in (found.response.sel(epsilon=0.05), found.linear):
        for values in response.sel(position=slice(FROM, None)).values:
            assert beside(values, peak) < SMALL
            assert values[peak] / (values[peak] + values[peak + 1]) > SHARE
            # What a model that has learned the distance would do.
            if gap:
                assert values[T0 - 1] < SMALL * values[peak]


# the shipped model -------------------------------------------------------------------------------


def test_accuracies_are_those_asked_for_and_those_recorded(model, provenance):
    found = gpt2.judged(model.original_model, Network(), 64, seed=1)
    check_behaviour(found)
    check_behaviour(provenance["accuracy"])
    for name, value in provenance["accuracy"].items():
        # 64 and 256 sequences, of which some are harder.
        assert found[name] == pytest.approx(value, abs=0.02), name


def test_a_model_with_random_weights_is_not_accurate():
    found = gpt2.judged(gpt2.initial(Network(), 0), Network(), 16)
    assert max(found.values()) < 0.1


@pytest.mark.parametrize("gap", [0, GAP])
def test_the_response_peaks_where_the_block_comes_again(model, gap):
    check_response(model, gap)


def test_the_shipped_weights_are_those_of_the_default_settings(provenance):
    assert gpt2.settings_from(provenance["settings"]) == Gpt2Settings(device="cpu")
    assert provenance["weights_sha256"] == models.REGISTRY[NAME].sha256
    assert provenance["command"] == gpt2.command(Gpt2Settings())
    # Trained with a committed state of the library.
    assert len(provenance["git_commit"]) == 40
    shape = models.reference_config(NAME).to_dict()
    ours = gpt2.configuration(Network()).to_dict()
    same = ("n_embd", "n_layer", "n_head", "n_inner", "n_positions", "vocab_size")
    assert {name: shape[name] for name in same} == {name: ours[name] for name in same}
    assert shape["layer_norm_epsilon"] == ours["layer_norm_epsilon"] == 1e-8


# its film ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film():
    return shipped_results(f"film-{NAME}")


def test_the_film_is_that_of_the_shipped_model(film):
    training, settings = gpt2.settings_of_film(film)
    assert training == Gpt2Settings(device="cpu")
    assert film.attrs["model"] == NAME
    assert film.attrs["weights_sha256"] == models.REGISTRY[NAME].sha256
    assert all(str(value) not in ("", "unknown") for value in film.attrs.values())
    assert len(film.attrs["git_commit"]) == 40
    assert film.step.values.tolist() == settings.steps(training)
    assert (RESULTS / f"film-{NAME}.nc").stat().st_size < 2e6


def test_the_ends_of_the_film_are_measured_again(film, model):
    outcome = verify_film(film, model)
    assert outcome.agrees
    assert outcome.median_relative < 5e-4


def test_the_film_shows_the_change_of_phase(film):
    first = film.isel(frame=film.frame_phase == 0)
    assert float(first.accuracy[0]) < 0.05
    assert float(first.accuracy[-1]) > 0.9
    assert float(first.loss[-1]) < 0.3 < np.log(24) < float(first.loss[0])
    # Before it nothing peaks at T0 - 1, after it the response does, whatever the strength.
    for name in ("response", "linear"):
        before, after = (first[name][place, -1, :16].values for place in (0, -1))
        assert beside(before, 7, 3) > 0.9
        assert beside(after, 7, 3) < SMALL


def test_the_last_frame_is_that_of_the_paper(film):
    last = film.isel(frame=-1)
    assert int(last.t0) == T0
    for name in ("response", "linear"):
        for values in last[name].sel(position=slice(FROM, None)).values:
            assert beside(values, T0 - 1) < SMALL
            assert values[T0 - 1] / values[T0 - 1 : T0 + 1].sum() > SHARE


# trained again -----------------------------------------------------------------------------------


@pytest.mark.skipif(
    os.environ.get("TRAIN_AGAIN") != "1", reason="takes a quarter of an hour: set TRAIN_AGAIN=1"
)
def test_trained_again_it_does_the_same(tmp_path, provenance):
    """On another processor not bit for bit, but as well."""
    found = gpt2.train_into(tmp_path / NAME, Gpt2Settings(device="cpu"))
    check_behaviour(found["accuracy"])
    for name, value in provenance["accuracy"].items():
        assert found["accuracy"][name] == pytest.approx(value, abs=0.03), name
    model = load_model(str(tmp_path / NAME), device="cpu", tokenizer=False)
    for gap in (0, GAP):
        check_response(model, gap)
    tokens = repeated_random_tokens(T0, 2, 512, np.random.default_rng(0), True)
    assert torch.isfinite(gpt2.loss(model.original_model, tokens, T0)).all()
