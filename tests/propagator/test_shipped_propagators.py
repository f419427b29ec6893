"""What the shipped propagators say."""

import numpy as np
import pytest
from shipped import RESULTS
from universal_response import load_results, propagator, response

PRETRAINED = ("smollm2-135m", "gemma-3-270m")
T0, HALF = 64, 32


@pytest.fixture(scope="module")
def studies():
    names = (*PRETRAINED, "gpt2-induction")
    return {one: load_results(RESULTS / f"propagator-{one}.nc", "propagator") for one in names}


@pytest.mark.parametrize("name", PRETRAINED)
def test_from_the_input_it_is_the_response(studies, name):
    """Of other sequences: within four standard errors of both."""
    whole = load_results(RESULTS / f"{name}.nc")
    last = {"metric": "delta", "position": response.last(whole)}
    found = propagator.at_end(studies[name]).sel(perturbed_position=0)
    for distance in (T0 - 1, T0, HALF):
        one = found.sel(compared=distance)
        expected = whole.linear.sel(last).sel(delta_j=distance)
        error = np.hypot(one.error, whole.linear_sem.sel(last).sel(delta_j=distance))
        assert abs(one["mean"] - expected) < 4 * error


def test_nothing_responds_below_where_it_is_perturbed(studies):
    for study in studies.values():
        start, end = np.indices(study.response.shape[:2])
        assert (study.response.values[end <= start] == 0).all()


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_change_is_copied_up_to_the_last_induction_heads(studies, name):
    """At T0 - 1 more than three times half a block from everywhere but the last quarter."""
    found = propagator.ratio(studies[name], HALF).isel(position=-1)
    low = found["mean"] - 2 * found.error
    end = studies[name].sizes["position"]
    assert (low.sel(perturbed_position=slice(0, 3 * end // 4)) > np.log(3)).all()


def test_in_gemma_the_same_token_needs_an_early_change(studies):
    gemma = studies["gemma-3-270m"]
    same = propagator.ratio(gemma, HALF, distance=T0)
    assert propagator.last_above(same) <= 26 < propagator.last_above(propagator.ratio(gemma, HALF))


def test_the_onset_is_set_by_where_one_looks(studies):
    """In SmolLM2 it is the same sublayer from a wide range of l'; in Gemma one of two."""
    smol = propagator.onset(studies["smollm2-135m"])
    assert (smol.sel(perturbed_position=slice(8, 34)) == 35).all()
    gemma = propagator.onset(studies["gemma-3-270m"])
    assert (gemma.sel(perturbed_position=slice(3, 9)) == 11).all()
    assert (gemma.sel(perturbed_position=slice(10, 13)) == 23).all()


def test_the_small_gpt2_has_no_lane_for_the_same_token(studies):
    study = studies["gpt2-induction"]
    assert propagator.last_above(propagator.ratio(study, HALF, distance=T0)) is None
    assert propagator.last_above(propagator.ratio(study, HALF)) == 3
