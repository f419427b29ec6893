"""What the shipped controls say: the signature where it must be, its absence where it must not."""

import numpy as np
import pytest
from shipped import RESULTS
from universal_response import controls, response
from universal_response.controls import ABSENT, CONTROLS, OPEN, PRESENT

MODELS = ("smollm2-135m", "gemma-3-270m", "gpt2-induction")
BY_NAME = {each.name: each for each in CONTROLS}


@pytest.fixture(scope="module")
def shipped():
    found = {model: controls.controls_for(model, "none", also=[RESULTS]) for model in MODELS}
    return {(name, model): one for model, each in found.items() for name, one in each.items()}


@pytest.fixture(scope="module")
def signatures(shipped):
    return {key: controls.signature(dataset) for key, dataset in shipped.items()}


def test_every_control_that_a_model_can_have_is_shipped(shipped):
    for model in MODELS:
        missing = {each.name for each in CONTROLS} - {name for name, one in shipped if one == model}
        assert missing <= {"bos"}


def test_each_is_what_was_asked_for(shipped):
    for (name, _), dataset in shipped.items():
        asked = BY_NAME[name].settings
        for setting in ("t0", "batch", "seed"):
            assert dataset.attrs[setting] == getattr(asked, setting)
        assert dataset.attrs["sources"] == 8
        assert dataset.attrs["model"].endswith("@random") == BY_NAME[name].random_weights


def test_verdicts_are_those_expected(signatures):
    """Preregistered; none is the opposite, and where weights are trained and repeats are there all
    are resolved."""
    verdicts = controls.verdicts(signatures)
    opposite = {PRESENT: ABSENT, ABSENT: PRESENT}
    for (name, model), verdict in verdicts.items():
        expected = BY_NAME[name].expected
        assert verdict != opposite[expected], (name, model)
        assert expected == ABSENT or verdict == PRESENT, (name, model)
    assert list(verdicts.values()).count(OPEN) <= len(MODELS)


def test_the_peak_moves_with_the_gap(shipped):
    """At the end of the model the largest response beyond dj = 1 is at the expected distance."""
    for model in MODELS:
        for name in ("repeated", "gap", "t16", "t32", "t128"):
            dataset = shipped[name, model]
            last = dataset.linear_geometric.sel(metric="delta").isel(
                position=-1, delta_j=slice(2, None)
            )
            n = response.pairs_at(dataset, "last").sum("sequence")
            known = last.where(n >= 8)
            assert int(known.idxmax("delta_j")) == dataset.attrs["distance"], (name, model)


def test_a_larger_gap_is_a_larger_distance(shipped):
    for model in MODELS:
        distances = [shipped[name, model].attrs["distance"] for name in ("repeated", "gap")]
        assert np.diff(distances) == 16
