"""The engine against plain full forward passes, and what it promises about its work."""

from dataclasses import fields

import plain
import pytest
import torch
import transformers
from tiny_models import (
    ARCHITECTURES,
    CONTEXT,
    LAYERS,
    VOCABULARY,
    bridged,
    random_tokens,
    random_weights,
    tiny_hf_model,
    tiny_model,
)
from universal_response import InnerProducts, inner_products
from universal_response.metrics import METRICS
from universal_response.propagation import chunked_inner_products, positions, unbridged

T = 12  # longer than the sliding window of the Gemma models
EPSILONS = [0.01, 0.05, 0.3]
TRANSFORMERS = [name for name in ARCHITECTURES if name != "gpt_neox"]
RESPONSES = [field.name for field in fields(InnerProducts) if field.name != "state_state"]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def compared(request):
    """Architecture, the engine's products and the plain loop's streams, in float64."""
    model = tiny_model(request.param, torch.float64)
    tokens = random_tokens(2, T)
    found = inner_products(tokens, model, EPSILONS)
    return request.param, found, plain.streams(model, tokens, EPSILONS)


def live_hooks(model):
    """Hooks on the bridge's hook points, and all hooks of the modules below."""
    points = {name for name, point in model.hook_dict.items() if point.fwd_hooks}
    modules = model.original_model.modules()
    return points, sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def test_inner_products_equal_those_of_full_forward_passes(compared):
    architecture, found, streams = compared
    tolerance = 1e-8 if architecture == "gpt2" else 1e-5
    for name, expected in plain.inner_products(streams).items():
        # Relative to the longest vector of each position: a product of nearly orthogonal vectors
        # is known no better than that.
        scale = expected.abs().flatten(1).amax(1).clamp(min=1e-30)
        error = (getattr(found, name) - expected).abs().flatten(1).amax(1) / scale
        assert error.max() < tolerance, name


def test_metrics_equal_those_of_full_forward_passes(compared):
    architecture, found, streams = compared
    # The bridge takes its softmax in float32 even here, the engine does not.
    relative, of_cosine = (1e-8, 1e-8) if architecture == "gpt2" else (3e-3, 2e-3)
    expected = plain.metrics(streams)
    clear = expected["delta"] > 1e-4
    for name, metric in METRICS.items():
        # The plain 1 - cos has lost digits itself; a cosine may be zero.
        absolute = {"delta": 0, "phi": 1e-14}.get(name, of_cosine)
        torch.testing.assert_close(
            metric(found)[clear], expected[name][clear], rtol=relative, atol=absolute, msg=name
        )


def test_the_comparison_is_not_trivial(compared):
    """Responses to the right of the source are large enough to compare, and differ."""
    _, _, streams = compared
    delta = plain.metrics(streams)["delta"][-1]
    later = delta[:, :, *torch.triu_indices(T, T, 1)]
    assert (later > 1e-4).double().mean() > 0.8
    assert later.max() > 1e-2
    assert later.std() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_residual_vectors_are_those_of_transformers(architecture):
    """After every block but the last, whose hidden state is listed after the final norm."""
    tokens = random_tokens(2, T)
    model = tiny_model(architecture, torch.float64)
    found = inner_products(tokens, model, [0.1]).state_state
    with torch.no_grad():
        hidden = tiny_hf_model(architecture, torch.float64)(tokens, output_hidden_states=True)
    expected = torch.stack(hidden.hidden_states[:-1]).square().sum(-1)
    at = [0, *(p.index for p in positions(model)[:-1] if p.sublayer in ("mlp", "block"))]
    # Norms and rotary embeddings of transformers compute in single precision inside.
    torch.testing.assert_close(found[at], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_of_the_model_itself_gives_the_same(architecture, monkeypatch):
    """The road of models that take no attention from outside: one source a pass."""
    tokens = random_tokens(2, T)
    expected = inner_products(tokens, tiny_model(architecture, torch.float64), EPSILONS)
    model = tiny_model(architecture, torch.float64)
    monkeypatch.setattr(type(model.original_model), "_supports_attention_backend", False)
    with unbridged(model) as blocks:
        assert not blocks.open_attention
    found = inner_products(tokens, model, EPSILONS)
    for field in fields(InnerProducts):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


def test_a_model_that_takes_no_attention_from_outside():
    """GPT-J, against plain full passes."""
    config = transformers.GPTJConfig(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=LAYERS,
        n_head=4,
        rotary_dim=4,
        n_positions=CONTEXT,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = bridged(random_weights(config, torch.float64))
    with unbridged(model) as blocks:
        assert not blocks.open_attention
    tokens = random_tokens(2, T)
    found = inner_products(tokens, model, EPSILONS)
    for name, expected in plain.inner_products(plain.streams(model, tokens, EPSILONS)).items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(getattr(found, name), expected, rtol=1e-5, atol=1e-5 * scale)


def test_left_of_the_source_nothing_changes(compared):
    _, found, streams = compared
    left = torch.ones(T, T, dtype=torch.bool).tril(-1)
    for name in RESPONSES:
        assert (getattr(found, name)[..., left] == 0).all(), name
    assert (streams.change[..., left, :] == 0).all()


def test_perturbation_at_the_input_is_the_definition(compared):
    """D_i = -epsilon x_i at position 0 and nothing anywhere else."""
    _, found, _ = compared
    strengths = torch.tensor(EPSILONS, dtype=torch.float64)
    length = found.state_state[0].sqrt()
    response = found.response_response[0].sqrt()
    expected = torch.diag_embed(strengths[:, None, None] * length)
    torch.testing.assert_close(response, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        found.response_state[0], -torch.diag_embed(strengths[:, None, None] * length**2)
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_strength_zero_measures_rounding_only(architecture):
    model = tiny_model(architecture, torch.float64)
    found = inner_products(random_tokens(2, T), model, [0.0, 0.1])
    floor, response = (METRICS["delta"](found)[-1, k] for k in (0, 1))
    assert floor.max() < 1e-6
    assert response.max() > 1e-2


@pytest.mark.parametrize("tokens_per_pass", [1, 50, 10**6])
def test_result_does_not_depend_on_how_the_passes_are_cut(llama, tokens_per_pass):
    tokens = random_tokens(2, T)
    assert_same(
        inner_products(tokens, llama, EPSILONS, tokens_per_pass=tokens_per_pass),
        inner_products(tokens, llama, EPSILONS),
    )


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3"])
def test_strengths_and_sequences_do_not_influence_each_other(architecture):
    model = tiny_model(architecture, torch.float64)
    tokens = random_tokens(3, T)
    together = inner_products(tokens, model, EPSILONS)
    for k, epsilon in enumerate(EPSILONS):
        for s in range(len(tokens)):
            alone = inner_products(tokens[s : s + 1], model, [epsilon])
            torch.testing.assert_close(alone.state_state[:, 0], together.state_state[:, s])
            for name in RESPONSES:
                torch.testing.assert_close(
                    getattr(alone, name)[:, 0, 0], getattr(together, name)[:, k, s]
                )


def test_longer_sequence_begins_with_the_shorter_one(llama):
    tokens = random_tokens(2, T)
    longer, shorter = (inner_products(tokens[:, :n], llama, [0.1]) for n in (T, T - 4))
    for name in RESPONSES:
        torch.testing.assert_close(
            getattr(longer, name)[..., : T - 4, : T - 4], getattr(shorter, name)
        )


@pytest.mark.parametrize("tokens_per_pass", [None, 1, 70])
def test_number_of_tokens_passed(gpt2, tokens_per_pass):
    sequences, passed, reported = 2, [], []
    handle = gpt2.blocks[0].original_component.register_forward_pre_hook(
        lambda module, args: passed.append(args[0].shape[0] * args[0].shape[1])
    )
    try:
        inner_products(
            random_tokens(sequences, T), gpt2, EPSILONS, tokens_per_pass, progress=reported.append
        )
    finally:
        handle.remove()
    perturbed = sequences * len(EPSILONS) * T * (T + 1) // 2
    assert sum(reported) == perturbed
    assert sum(passed) == perturbed + sequences * T
    if tokens_per_pass == 1:
        # As small as a pass gets: one strength, all sequences.
        assert len(passed) == 1 + len(EPSILONS) * T


def test_chunks_of_strengths_share_one_clean_pass(gpt2):
    """And give the same bits as strengths measured alone."""
    tokens, done = random_tokens(2, T), []
    chunks = [EPSILONS[:1], EPSILONS[1:]]
    hook = gpt2.blocks[0].original_component.register_forward_pre_hook(
        lambda module, args: done.append(args[0].shape[0] * args[0].shape[1])
    )
    try:
        found = list(chunked_inner_products(tokens, gpt2, chunks))
    finally:
        hook.remove()
    assert sum(done) == 2 * T + len(EPSILONS) * 2 * T * (T + 1) // 2
    for epsilons, products in zip(chunks, found, strict=True):
        alone = inner_products(tokens, gpt2, epsilons)
        for field in fields(InnerProducts):
            assert torch.equal(getattr(products, field.name), getattr(alone, field.name))


def test_model_is_given_back_when_the_chunks_are_closed(gpt2):
    before = live_hooks(gpt2), [type(module) for module in gpt2.original_model.modules()]
    chunks = chunked_inner_products(random_tokens(1, T), gpt2, [[0.1], [0.2]])
    next(chunks)
    assert [type(module) for module in gpt2.original_model.modules()] != before[1]
    chunks.close()
    assert before == (
        live_hooks(gpt2),
        [type(module) for module in gpt2.original_model.modules()],
    )


def test_no_logits_are_computed(gpt2):
    def refuse(module, args):
        raise AssertionError("the unembedding was run")

    handle = gpt2.original_model.get_output_embeddings().register_forward_pre_hook(refuse)
    try:
        inner_products(random_tokens(1, 4), gpt2, [0.1])
        with pytest.raises(AssertionError, match="unembedding"):
            gpt2(random_tokens(1, 4))
    finally:
        handle.remove()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_model_is_left_as_it_was(architecture):
    model = tiny_model(architecture, torch.float64)
    tokens = random_tokens(2, T)
    with torch.no_grad():
        before, hooks = model(tokens), live_hooks(model)
        inner_products(tokens, model, EPSILONS)
        assert live_hooks(model) == hooks
        assert hooks[0] == set()
        assert torch.equal(model(tokens), before)


@pytest.mark.parametrize("fails_at_pass", [1, 3])
def test_hooks_are_removed_after_an_exception(fails_at_pass):
    model = tiny_model("gpt2")
    model(random_tokens(1, 6))  # the bridge wires hooks of its own in its first pass
    before = live_hooks(model)
    passes = []

    def fail(module, args):
        passes.append(module)
        if len(passes) == fails_at_pass:
            raise RuntimeError("interrupted")

    handle = model.blocks[1].original_component.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="interrupted"):
            inner_products(random_tokens(1, 6), model, [0.1], tokens_per_pass=1)
    finally:
        handle.remove()
    assert len(passes) == fails_at_pass
    assert live_hooks(model) == before


@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_positions_alternate_attention_and_mlp(architecture):
    found = positions(tiny_model(architecture))
    assert [position.index for position in found] == list(range(2 * LAYERS + 1))
    assert [position.sublayer for position in found] == ["input", *["attention", "mlp"] * LAYERS]
    assert [position.layer for position in found] == [0, 0, 0, 1, 1, 2, 2]


def test_positions_of_parallel_blocks():
    found = positions(tiny_model("gpt_neox"))
    assert [position.index for position in found] == list(range(LAYERS + 1))
    assert [position.sublayer for position in found] == ["input", *["block"] * LAYERS]
    assert [position.layer for position in found] == [0, 0, 1, 2]


@pytest.mark.parametrize("epsilons", [[], [-0.1], [0.1, 1.5], [float("nan")]])
def test_bad_strengths_are_named(gpt2, epsilons):
    with pytest.raises(ValueError, match=r"\Aepsilons[^\n]*\Z"):
        inner_products(random_tokens(1, 4), gpt2, epsilons)


def test_too_many_tokens_are_named(gpt2):
    with pytest.raises(ValueError, match=r"\Atokens[^\n]*65[^\n]*64[^\n]*\Z"):
        inner_products(random_tokens(1, 65), gpt2, [0.1])


def test_hooks_of_the_user_are_refused():
    model = tiny_model("gpt2")
    model.add_hook("blocks.1.hook_resid_pre", lambda state, hook: 2 * state)
    with pytest.raises(ValueError, match=r"\Amodel: hooks[^\n]*reset_hooks[^\n]*\Z"):
        inner_products(random_tokens(1, 4), model, [0.1])
    model.reset_hooks()
    inner_products(random_tokens(1, 4), model, [0.1])


def test_changed_weights_are_refused():
    model = tiny_model("gpt2")
    model.enable_compatibility_mode()
    with pytest.raises(ValueError, match=r"\Amodel: [^\n]*compatibility mode[^\n]*\Z"):
        inner_products(random_tokens(1, 4), model, [0.1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_single_precision_products(dtype):
    tokens = random_tokens(1, 6)
    half = inner_products(tokens, tiny_model("llama", dtype), [0.3])
    full = inner_products(tokens, tiny_model("llama"), [0.3])
    for field in fields(InnerProducts):
        assert getattr(half, field.name).dtype == torch.float32
    # The same quantity, to what half precision holds.
    upper = torch.triu_indices(6, 6)
    a, b = (METRICS["delta"](found)[-1, 0, 0, *upper] for found in (half, full))
    torch.testing.assert_close(a, b, rtol=0.2, atol=0.02)


def assert_same(found, expected):
    for field in fields(InnerProducts):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=field.name)
