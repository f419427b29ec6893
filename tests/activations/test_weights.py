"""Weights of heads in one form, against those that the Hugging Face model has by name."""

import pytest
import raw
import torch
from tiny_models import FAMILIES, LAYERS, tiny_hf_model, tiny_model
from universal_response import activations

# Apart, and side by side in one matrix in three different orders.
KEPT = ("gpt2", "llama", "gpt_neox", "phi3", "granite", "gemma3")


@pytest.mark.parametrize("family", KEPT)
def test_weights_of_heads(family):
    hf, layer = tiny_hf_model(family), 1
    n_heads, n_key_heads, width = raw.sizes(hf)
    found = activations.layer_weights(tiny_model(family))
    assert len(found) == LAYERS
    mine = found[layer]
    assert (mine.n_heads, mine.n_shared) == (n_heads, n_heads // n_key_heads)
    out = raw.weight(raw.mixing(hf, layer)).unflatten(0, (n_heads, width))
    for head in range(n_heads):
        q, k, v = (raw.projected(hf, layer, what, head) for what in ("queries", "keys", "values"))
        assert torch.equal(mine.queries[head], q)
        assert torch.equal(mine.key_of(head), k)
        assert torch.equal(mine.value_of(head), v)
        assert torch.equal(mine.mixed[head], out[head])
        torch.testing.assert_close(mine.ov(head), v @ out[head])
    assert mine.multiplier == pytest.approx(0.7 if family == "granite" else 1.0)


NORMED = {
    "gpt2": ("ln_1", None, None, None),
    "gemma3": ("input_layernorm", "post_attention_layernorm", "q_norm", "k_norm"),
    "olmo2": (None, "post_attention_layernorm", "q_norm", "k_norm"),
    "llama": ("input_layernorm", None, None, None),
    "qwen3": ("input_layernorm", None, "q_norm", "k_norm"),
}


@pytest.mark.parametrize("family", NORMED)
def test_norms_of_heads(family):
    hf, layer = tiny_hf_model(family), 2
    mine = activations.layer_weights(tiny_model(family))[layer]
    norms = (mine.norm, mine.norm_after, mine.query_norm, mine.key_norm)
    places = (raw.blocks(hf)[layer],) * 2 + (raw.attention(hf, layer),) * 2
    for norm, place, name in zip(norms, places, NORMED[family], strict=True):
        if name is None:
            assert norm is None
            continue
        module = getattr(place, name)
        gain = module.weight + 1 if family == "gemma3" else module.weight
        torch.testing.assert_close(norm.gain.float(), gain)
        assert norm.centred == (family == "gpt2")
        bias = getattr(module, "bias", None)
        torch.testing.assert_close(
            norm.bias.float(), torch.zeros_like(gain) if bias is None else bias
        )


# A list of norms, one a head (and its attention is code of its own anyway); a constant that stands
# in the code alone.
NOT_KNOWN = {"stablelm": "StableLmLayerNormPerHead", "olmo": "OlmoLayerNorm"}


def test_every_family_has_weights_of_heads():
    for family in set(FAMILIES) - set(NOT_KNOWN):
        assert len(activations.layer_weights(tiny_model(family))) == LAYERS
    for family, norm in NOT_KNOWN.items():
        with pytest.raises(ValueError, match=rf"^model: {norm} is neither LayerNorm nor RMSNorm"):
            activations.layer_weights(tiny_model(family))


def test_a_module_that_is_no_norm():
    with pytest.raises(ValueError, match=r"^model: GELU is neither .*; its heads cannot be told"):
        activations.norm_of(torch.nn.GELU(), 8)
