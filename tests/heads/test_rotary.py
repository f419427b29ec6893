"""R(n) against the rotary code of each Hugging Face model, applied to unit vectors."""

import sys

import pytest
import raw
import torch
from tiny_models import tiny_hf_model, tiny_model
from universal_response import heads
from universal_response.propagation import read

PLACES = torch.tensor([0, 1, 2, 7, 40])
# In float32; 3e-6 were seen.
ATOL = 2e-5
# Layer 0 of Gemma 3 has a window and a base of its own; in Cohere neighbouring dimensions turn
# together, in GPT-NeoX only the first ones turn.
ROTATED = [("llama", 0), ("gemma3", 0), ("gemma3", 1), ("gpt_neox", 1), ("cohere", 0), ("qwen3", 2)]


def by_their_code(family, layer, places):
    """Unit vectors as keys: row i of R(n) is what becomes of the i-th."""
    model = tiny_hf_model(family)
    width = raw.sizes(model)[2]
    of_layer = getattr(model.config, "layer_types", None)
    inputs = (torch.zeros(1, 1), places[None])
    kinds = [of_layer[layer]] if family == "gemma3" else []
    cos, sin = model.base_model.rotary_emb(*inputs, *kinds)
    keys = torch.eye(width)[None, :, None].expand(-1, -1, len(places), -1)
    apply = sys.modules[type(model).__module__].apply_rotary_pos_emb
    _, turned = apply(keys, keys, cos, sin)
    return turned[0].transpose(0, 1)


@pytest.mark.parametrize(("family", "layer"), ROTATED)
def test_rotations_are_those_of_the_model(family, layer):
    found = heads.rotations(tiny_model(family), layer, PLACES)
    expected = by_their_code(family, layer, PLACES).double()
    assert float((expected[1] - torch.eye(expected.shape[1])).abs().max()) > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=ATOL)


def test_the_layers_of_gemma_differ():
    model = tiny_model("gemma3")
    first, second = (heads.rotations(model, layer, PLACES) for layer in (0, 1))
    assert float((first - second).abs().max()) > 0.01


@pytest.mark.parametrize(("family", "layer"), [("llama", 1), ("gemma3", 0), ("cohere", 2)])
def test_rotations_are_a_group(family, layer):
    one, three, four, back = heads.rotations(tiny_model(family), layer, torch.tensor([1, 3, 4, 0]))
    unit = torch.eye(len(one), dtype=torch.float64)
    torch.testing.assert_close(one @ three, four, rtol=0, atol=ATOL)
    torch.testing.assert_close(one @ one.T, unit, rtol=0, atol=ATOL)
    torch.testing.assert_close(back, unit, rtol=0, atol=ATOL)


@pytest.mark.parametrize(("family", "layer"), [("gpt2", 0), ("gpt2", 2), ("smollm3", 1)])
def test_without_rotary_positions_nothing_turns(family, layer):
    found = heads.rotations(tiny_model(family), layer, PLACES)
    unit = torch.eye(found.shape[1], dtype=torch.float64)
    torch.testing.assert_close(found, unit.expand_as(found), rtol=0, atol=ATOL)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_a_query_after_a_key(family):
    """q at a + n and k at a have the score q R(n) k, whatever a is."""
    model, n = tiny_model(family), 5
    generator = torch.Generator().manual_seed(1)
    states = torch.randn((6, 32), generator=generator)
    at = [torch.full((6,), place) for place in (0, 11, 11 + n)]
    (q0, k0, _), (_, k, _), (q, _, _) = (read(model, 0, states, each) for each in at)
    (turn,) = heads.rotations(model, 0, torch.tensor([n])).float()
    for head in range(4):
        scores = q[:, head] @ k[:, head // 2].T
        expected = q0[:, head] @ turn @ k0[:, head // 2].T
        torch.testing.assert_close(scores, expected, rtol=0, atol=float(scores.abs().max()) * 1e-5)
