"""The whole pipeline on the paper's architectures: their registered configurations, scaled down.

Random weights, but every feature that a cache, a hook or a metric could trip over is kept, is seen
to be there, and is seen to matter.
"""

import inspect
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import plain
import pytest
import torch
import transformers
import xarray as xr
from drawing import draw_whole
from matplotlib.figure import Figure
from tiny_models import bridged, random_tokens, random_weights, residual_streams
from universal_response import (
    REGISTRY,
    Settings,
    figures,
    inner_products,
    load_model,
    load_results,
    measurement,
    response,
    verify,
)
from universal_response.metrics import METRICS
from universal_response.models import reference_config

pytestmark = pytest.mark.slow

T0 = 6
T = 2 * T0
WINDOW = 5  # shorter than the sequences
LAYERS = 4  # alternating windows occur twice
VOCABULARY = 101
EPSILONS = (0.01, 0.03, 0.05)
# What torch says of itself when forward-mode differentiation is first used.
# Of what other tests of the process have left to the garbage collector, such as notebooks' sockets.
LEFT = "ignore::ResourceWarning"
SCRIPTED = "ignore:.torch.jit.script:DeprecationWarning"
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def gemma(full):
    """8 heads over 4 of keys and values become 4 over 2; the cap shrinks like what it caps."""
    return {
        "hidden_size": 36,
        "intermediate_size": 36 * full.intermediate_size // full.hidden_size,
        "num_hidden_layers": LAYERS,
        "layer_types": full.layer_types[:LAYERS],
        "num_attention_heads": full.num_attention_heads // 2,
        "num_key_value_heads": full.num_key_value_heads // 2,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": full.attn_logit_softcapping / 25,
        "sliding_window": WINDOW,
        "max_position_embeddings": 64,
    }


def llama(full):
    """24 heads over 8 of keys and values become 6 over 2."""
    return {
        "hidden_size": 48,
        "intermediate_size": 48 * full.intermediate_size // full.hidden_size,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": full.num_attention_heads // 4,
        "num_key_value_heads": full.num_key_value_heads // 4,
        "head_dim": 8,
        "max_position_embeddings": 64,
    }


def gpt2(full):
    """25 heads become 5."""
    return {"n_embd": 40, "n_layer": LAYERS, "n_head": full.n_head // 5, "n_positions": 64}


SCALED = {"gemma-2-2b": gemma, "llama-3.2-3b": llama, "gpt2-xl": gpt2}


def scaled_down(name):
    full = reference_config(name)
    small = full.to_dict() | SCALED[name](full) | NO_TOKENS | {"vocab_size": VOCABULARY}
    return type(full).from_dict(small)


@pytest.fixture(scope="module", params=SCALED)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def double(name):
    """The bridge in float64."""
    return bridged(random_weights(scaled_down(name), torch.float64))


def test_every_model_of_the_paper_is_here():
    assert set(SCALED) == {name for name, model in REGISTRY.items() if model.in_paper}


# features ----------------------------------------------------------------------------------------


def hidden(config, change=None):
    """Residual vectors of transformers' own pass over the same weights and tokens."""
    model = random_weights(config, torch.float64)
    model.set_attn_implementation("eager")  # the one that knows soft-capping
    if change is not None:
        change(model)
    return residual_streams(model, random_tokens(2, T), torch.ones(T, dtype=torch.float64))


def largest_change(config, change):
    """Of a component of a residual vector, relative to the largest component."""
    before, after = hidden(config), hidden(config, change)
    return float((after - before).abs().max() / before.abs().max())


def attention(model):
    return [block.self_attn for block in model.model.layers]


def heads(model):
    """Numbers of query heads and of key and value heads, from the shapes of the weights."""
    config, first = model.config, attention(model)[0]
    rows = [projection.weight.shape[0] for projection in (first.q_proj, first.k_proj, first.v_proj)]
    assert rows[1] == rows[2]
    return rows[0] // config.head_dim, rows[1] // config.head_dim


def assert_tied(model):
    """One weight for embedding and unembedding, counted once."""
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    names = [name for name, _ in model.named_parameters()]
    assert not any(re.search("lm_head|embed_out", name) for name in names)


def test_gemma_2_alternates_windows_shorter_than_the_sequence():
    config, full = scaled_down("gemma-2-2b"), reference_config("gemma-2-2b")
    model = random_weights(config)
    kinds = ["sliding_attention", "full_attention"]
    assert config.layer_types == kinds * (LAYERS // 2)
    assert full.layer_types == kinds * (full.num_hidden_layers // 2)
    assert [layer.sliding_window for layer in attention(model)] == [WINDOW, None] * (LAYERS // 2)
    assert WINDOW < T0

    def widen(model):
        model.config.sliding_window = T
        for layer in attention(model):
            layer.sliding_window = T

    assert largest_change(config, widen) > 1e-3


def test_gemma_2_caps_its_attention():
    config, full = scaled_down("gemma-2-2b"), reference_config("gemma-2-2b")
    model = random_weights(config)
    assert full.attn_logit_softcapping == 50
    assert config.final_logit_softcapping == full.final_logit_softcapping == 30
    assert [layer.attn_logit_softcapping for layer in attention(model)] == [2] * LAYERS

    def uncap(model):
        for layer in attention(model):
            layer.attn_logit_softcapping = None

    assert largest_change(config, uncap) > 1e-3


def test_gemma_2_groups_queries_and_ties_embeddings():
    model = random_weights(scaled_down("gemma-2-2b"))
    assert heads(model) == (4, 2)
    assert_tied(model)
    names = {name.split(".")[-2] for name, _ in model.named_parameters() if "layernorm" in name}
    before, after = ("input_layernorm", "pre_feedforward_layernorm"), "post_attention_layernorm"
    assert names == {*before, after, "post_feedforward_layernorm"}


def test_llama_groups_queries_and_ties_embeddings():
    config, full = scaled_down("llama-3.2-3b"), reference_config("llama-3.2-3b")
    model = random_weights(config)
    assert heads(model) == (6, 2)
    assert full.num_attention_heads == 3 * full.num_key_value_heads
    assert config.tie_word_embeddings
    assert_tied(model)
    assert isinstance(model.model.norm, transformers.models.llama.modeling_llama.LlamaRMSNorm)


def test_gpt_2_has_learned_positions_which_are_perturbed_as_well():
    config = scaled_down("gpt2-xl")
    model = random_weights(config, torch.float64)
    assert model.transformer.wpe.weight.shape == (64, 40)
    assert config.n_head == 5
    assert_tied(model)
    tokens = random_tokens(2, T)
    embedded = model.transformer.wte(tokens) + model.transformer.wpe(torch.arange(T))
    found = inner_products(tokens, bridged(model), [0.1])
    at_input = found.response_perturbation[0, 0].diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(at_input, 0.01 * embedded.square().sum(-1))

    def no_positions(model):
        model.transformer.wpe.weight.zero_()

    assert largest_change(config, no_positions) > 1e-3


# engine ------------------------------------------------------------------------------------------


def test_bridge_computes_what_transformers_does(name, double):
    """Windows, soft-capping, grouped heads and positions included."""
    expected = hidden(scaled_down(name)).square().sum(-1)
    found = inner_products(random_tokens(2, T), double, [0.1]).state_state
    # Norms and rotary embeddings compute in single precision inside.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_engine_equals_full_forward_passes(name, double):
    tokens = random_tokens(2, T)
    found = inner_products(tokens, double, EPSILONS)
    streams = plain.streams(double, tokens, list(EPSILONS))
    # The bridge takes its softmax in float32 even here, the engine does not.
    tolerance = 1e-8 if name == "gpt2-xl" else 1e-4
    products = plain.inner_products(streams)
    for field, expected in products.items():
        # At the input nothing is perpendicular: rounding, against the whole length.
        whole = products["response_response"] if field == "perpendicular" else expected
        scale = whole.abs().flatten(1).amax(1).clamp(min=1e-30)
        error = (getattr(found, field) - expected).abs().flatten(1).amax(1) / scale
        assert error.max() < tolerance, field
    expected = plain.metrics(streams)
    clear = expected["delta"] > 1e-4
    assert clear.double().mean() > 0.3
    relative, of_cosine = (1e-8, 1e-8) if name == "gpt2-xl" else (3e-3, 2e-3)
    for metric, function in METRICS.items():
        absolute = {"delta": 0, "phi": 1e-14}.get(metric, of_cosine)
        torch.testing.assert_close(
            function(found)[clear], expected[metric][clear], rtol=relative, atol=absolute
        )


# pipeline ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(name, tmp_path_factory):
    """The model in float32, read from a folder as a user's would be."""
    folder = tmp_path_factory.mktemp("weights") / name
    random_weights(scaled_down(name)).save_pretrained(folder)
    return load_model(str(folder), device="cpu", tokenizer=False)


@pytest.fixture(scope="module")
def results(loaded, tmp_path_factory):
    """Measured, saved, and read again."""
    path = tmp_path_factory.mktemp("results") / "results.nc"
    settings = Settings(t0=T0, batch=2, epsilons=EPSILONS, seed=3)
    measured = measurement.measure_into(path, loaded, settings)
    found = load_results(path)
    xr.testing.assert_identical(measured, found)
    assert list(path.parent.iterdir()) == [path]
    return found


def test_results_know_their_model(name, loaded, results):
    digest = results.attrs["weights_sha256"]
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert digest == loaded.provenance.weights_sha256
    found = response.architecture_of(results)
    heads = {
        "gemma-2-2b": "4 (2 key/value)",
        "llama-3.2-3b": "6 (2 key/value)",
        "gpt2-xl": "5",
    }
    assert (found["layers"], found["heads"], found["vocabulary"]) == (LAYERS, heads[name], 101)
    assert found["positions"] == ("learned" if name == "gpt2-xl" else "rotary")
    assert found["normalisation"] == ("LayerNorm" if name == "gpt2-xl" else "RMSNorm")
    # Not those of the bridge, which splits joint weights of queries, keys and values into copies.
    plain_model = random_weights(scaled_down(name))
    assert found["parameters"] == sum(weight.numel() for weight in plain_model.parameters())
    assert results.sizes["position"] == 2 * LAYERS + 1


def test_results_agree_with_a_new_measurement(loaded, results):
    assert verify(results, loaded).agrees
    changed = results.copy(deep=True)
    changed.witness[0, 1, -1, 0] *= 1.01
    assert not verify(changed, loaded).agrees


def test_results_of_single_and_double_precision_agree(double, results):
    """Far above the rounding error at l = 2L, and with the limit too."""
    tokens = torch.from_numpy(results.tokens.values)
    exact = METRICS["delta"](inner_products(tokens, double, EPSILONS))
    expected = plain.response_function(exact).mean(2).transpose(0, 1)[:, -1]
    found = torch.from_numpy(results.response.sel(metric="delta").values[:, -1])
    torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=1e-5)
    limit = torch.from_numpy(results.linear.sel(metric="delta").values[-1])
    torch.testing.assert_close(limit.double(), expected[0] / EPSILONS[0], rtol=0.1, atol=1e-2)


def figure_functions():
    """Every public function of `figures` that makes a figure of results alone, by its argument."""
    found = {"dataset": {}, "datasets": {}}
    for name, function in inspect.getmembers(figures, inspect.isfunction):
        signature = inspect.signature(function)
        first = next(iter(signature.parameters), "")
        alone = all(
            each.default is not each.empty
            for each in signature.parameters.values()
            if each.name != first
        )
        if signature.return_annotation is Figure and first in found and alone:
            found[first][name] = function
    return found


@pytest.mark.filterwarnings("error", SCRIPTED, LEFT)
def test_every_figure_can_be_drawn(name, results):
    found, laid_out = figure_functions(), name == "gemma-2-2b"
    assert {"fig1", "fig2", "fig3", "fig4"} <= set(found["dataset"])
    assert "fig5" in found["datasets"]
    before = mpl.get_backend()
    plt.switch_backend("agg")
    try:
        for draw in found["dataset"].values():
            draw_whole(draw(results), laid_out)
        for draw in found["datasets"].values():
            draw_whole(draw({"measured": results}), laid_out)
    finally:
        plt.close("all")
        plt.switch_backend(before)
