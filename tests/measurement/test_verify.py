"""Measured again and compared."""

import numpy as np
import pytest
import torch
from measured import half_a_unit
from messages import one_line
from tiny_models import LAYERS, tiny_hf_model, tiny_model
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from universal_response import verify
from universal_response.metrics import METRICS


def test_results_agree_with_themselves(single, stored):
    found = verify(stored, single)
    assert found.agrees
    silent = 3 * 3 * 13 + 3 * 13  # cosines at l = 0, where no other token responds, have no value
    assert found.compared == stored.witness.size + stored.linear_witness.size - silent
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
