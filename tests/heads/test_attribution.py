"""Attribution of the logit difference, against Hugging Face models with hooks of our own."""

import plain
import pytest
import raw
import runs
import torch
from runs import T0, TOKENS, close
from tiny_models import LAYERS, tiny_hf_model, tiny_model
from universal_response import activations, heads

# Norms after sublayers, parallel blocks, factors on what is added and on logits, biases.
FAMILIES = ("gpt2", "llama", "gemma3", "gpt_neox", "cohere", "granite", "phi", "olmo2")
OTHERS = runs.blocks(seed=1, sequences=3)


def attributed(family):
    of = runs.outputs(family)
    model = runs.bridge(family)
    with plain.uncast():
        return heads.direct_attribution(of, model, runs.unembedding(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_make_the_logit_difference(family):
    close(attributed(family).total, runs.difference(runs.last(family)[1]))


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_the_parts_in_float32(family):
    model, hf = tiny_model(family), tiny_hf_model(family)
    of, unembedding = activations.outputs(TOKENS, model), activations.unembedding_of(model)
    with torch.no_grad():
        expected = runs.difference(hf(TOKENS).logits)
    close(heads.direct_attribution(of, model, unembedding).total, expected, within=3e-6)


def frozen(family):
    """Linear: what a vector added to the last state adds to the logit differences.

    The final norm divides by what it divides the last state by, (sequence, query, d_model).
    """
    hf = runs.hf_model(family)
    norm, head, kept = raw.final_norm(hf), hf.lm_head, []
    keep = norm.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    with raw.hooks(keep):
        runs.hf_run(family)
    centred = "LayerNorm" in type(norm).__name__
    state = kept[0] - kept[0].mean(-1, keepdim=True) if centred else kept[0]
    constant = next(getattr(norm, n) for n in ("variance_epsilon", "eps") if hasattr(norm, n))
    scale = (state.square().mean(-1, keepdim=True) + constant).sqrt()
    gain = norm.weight + 1 if family == "gemma3" else norm.weight
    factor = getattr(hf.config, "logit_scale", None) or 1 / getattr(
        hf.config, "logits_scaling", 1.0
    )

    def along(added):
        added = added - added.mean(-1, keepdim=True) if centred else added
        return runs.difference(added / scale * gain @ head.weight.T * factor)

    return along


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_the_scale_of_another_run_may_be_held(family):
    """The last state of one run, read as the final norm reads that of the other."""
    model, unembedding = runs.bridge(family), runs.unembedding(family)
    with plain.uncast():
        of = runs.outputs(family)
        zeros = [torch.zeros_like(each[:1]) for each in of.z]
        other = activations.outputs(TOKENS, model, heads.replaced([(0, 1)], zeros))
        found = heads.direct_attribution(other, model, unembedding, scale_of=of)
    along = frozen(family)
    close(found.total, along(other.states[-1]))


def seen(family):
    """z and outputs of every attention, in a plain run: (sequence, token, ..)."""
    hf, outputs = runs.hf_model(family), []

    def keep(_, args, output):
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [raw.attention(hf, layer).register_forward_hook(keep) for layer in range(LAYERS)]
    with raw.hooks(*handles), plain.uncast(), plain._exact(hf), torch.no_grad():
        return [each.z.transpose(1, 2) for each in raw.attended(hf, TOKENS)], outputs


def written(family, layer, head, z):
    """z W_O of a head."""
    hf = runs.hf_model(family)
    width = raw.sizes(hf)[2]
    own = slice(head * width, (head + 1) * width)
    return z[:, :, head] @ raw.weight(raw.mixing(hf, layer))[own]


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_and_other_parts(family):
    hf, found, along = runs.hf_model(family), attributed(family), frozen(family)
    z, outputs = seen(family)
    factor = 0.7 if family == "granite" else 1.0
    for layer in range(LAYERS):
        after = raw.norm_after(hf, layer, "attention")
        for head in range(4):
            added = written(family, layer, head, z[layer])
            if after is not None:
                # The norm divides by what it divides the whole output by.
                with plain.uncast():
                    added = after(outputs[layer]) * added / outputs[layer]
            close(found.heads[layer, head], along(factor * added), within=1e-9)

    states = plain.plain_streams(hf, TOKENS, [0.0]).clean
    close(found.embedding, along(states[0]))
    if len(states) == 2 * LAYERS + 1:
        for layer in range(LAYERS):
            close(found.mlps[layer], along(states[2 * layer + 2] - states[2 * layer + 1]))


def test_what_has_no_attribution():
    with pytest.raises(ValueError, match=r"^model: its logits have a cap"):
        attributed("gemma2")
    with pytest.raises(ValueError, match=r"^model: .*mlp"):
        attributed("opt")


# effects -----------------------------------------------------------------------------------------


def mean_difference(family):
    return runs.difference(runs.hf_run(family).logits).mean(1)


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "granite", "gpt_neox"])
def test_direct_effects(family):
    """With the head replaced in the input of the final norm alone."""
    hf, of, model = runs.hf_model(family), runs.outputs(family), runs.bridge(family)
    by = activations.mean_by_position(runs.outputs(family, OTHERS))
    metric = runs.metric_of(family)
    with plain.uncast():
        found = heads.direct_effects(of, model, by, runs.unembedding(family), metric)
    assert found.shape == (LAYERS, 4, runs.SEQUENCES)
    z, outputs = seen(family)
    factor = 0.7 if family == "granite" else 1.0
    for layer, head in [(0, 1), (1, 3), (2, 0)]:
        more = written(family, layer, head, by[layer] - z[layer])
        after = raw.norm_after(hf, layer, "attention")
        if after is not None:
            with plain.uncast():
                more = after(outputs[layer] + more) - after(outputs[layer])
        shown = raw.edited_input(raw.final_norm(hf), lambda state, more=more: state + factor * more)
        with raw.hooks(shown):
            expected = mean_difference(family)
        close(found[layer, head], expected)
        assert float((expected - mean_difference(family)).abs().max()) > 1e-4


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "gpt_neox"])
def test_attribution_patching(family):
    """The derivative of the metric where z becomes (1 - a) z + a by, at a = 0."""
    hf, of, model = runs.hf_model(family), runs.outputs(family), runs.bridge(family)
    by = runs.outputs(family, OTHERS[: runs.SEQUENCES]).z
    with plain.uncast():
        found = heads.attribution_patching(of, model, by, runs.metric_of(family))
    step, z = 1e-3, seen(family)[0]
    for layer, head in [(0, 2), (1, 0), (2, 3)]:
        at = []
        for a in (-2 * step, -step, step, 2 * step):
            mixed = ((1 - a) * z[layer] + a * by[layer])[:, :, [head]]
            with raw.heads_replaced(hf, layer, [head], mixed):
                at.append(mean_difference(family))
        # Off by step^4 / 30 times the fifth derivative.
        expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
        close(found[layer, head], expected, within=1e-8)


def test_attribution_patching_leaves_the_run_alone():
    of = runs.outputs("gpt2")
    heads.attribution_patching(of, runs.bridge("gpt2"), of.z, runs.metric_of("gpt2"))
    assert not of.states[0].requires_grad
    assert len(TOKENS[0]) // 2 == T0
