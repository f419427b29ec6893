"""Nodes that others have named in models that add are found by our code: opt-in, needs the hub.

P. Quirke and others train small models of TransformerLens to add, and publish beside each which
nodes it needs: a head or an MLP at a place is "useful" where some sums fail once it gives its mean.

    UNIVERSAL_RESPONSE_HUB=1 HF_HUB_OFFLINE=0 pytest tests/arithmetic/test_quanta_maths.py

Nobody has run that part here, where there is no hub. What it takes for granted was read in stored
copies of the authors' repositories on GitHub, PhilipQuirke/quanta_maths (Q) and
PhilipQuirke/quanta_mech_interp (M):

- Repository and files, `<name>.pth` and `<name>_behavior.json` in PhilipQuirke/VerifiedArithmetic:
  Q docs/hugging_models.md and quanta_maths/maths_model_loader.py. The former calls it the older
  layout, beside one repository a model, PhilipQuirke/QuantaMaths_<name>.
- Vocabulary, digits 0 to 9 and then + - = * /: Q quanta_maths/maths_constants.py.
- Places, `D4..D0 + D'4..D'0 = + A5..A0`, greatest digit first and a sign before the result:
  Q maths_tools/maths_config.py and MathsMechInterp/maths_utilities.py.
- Shape, 15 tokens, width 510, heads of 170, 2040 neurons, relu, LayerNorm with weights:
  M QuantaMechInterp/model_config.py; all else is the default of HookedTransformerConfig.
- Names and shapes in the state dict: transformer_lens/components.py of TransformerLensOrg.
- The list of nodes, `{position, layer, is_head, num, tags}`: M QuantaMechInterp/useful_node.py, and
  a copy of this very model's in Q results/hf-update-test. `EXAMPLE` is made up in its form, and
  `NAMED` is how many it has.
- What the named nodes alone can do: Q results/study-circuit-sufficiency, and how it was measured:
  Q quanta_maths/maths_sufficiency.py.

Not confirmed: that these files are on the hub today, that they are those of the stored copies, and
that `weights_only` reads this one (Q Tests/tests_sae.py reads another model of theirs so). Where
the files are others than described here the tests fail: they never skip once they are asked for.
How well ranks must agree (`AGREEMENT`) is our guess, as effects here and there differ in kind.
"""

import copy
import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from universal_response.activations import Outputs, outputs, unembedding_of
from universal_response.arithmetic.effects import each_patched
from universal_response.arithmetic.faithfulness import Judge
from universal_response.arithmetic.nodes import Node, all_nodes, mean_over_problems
from universal_response.models import bridged

REPOSITORY, NAME = "PhilipQuirke/VerifiedArithmetic", "add_d5_l2_h3_t15K_s372001"
N_DIGITS, LAYERS, HEADS, WIDTH, INNER, VOCABULARY = 5, 2, 3, 510, 2040, 15
PLUS, EQUALS = 10, 12
N_PLACES = 3 * N_DIGITS + 4
SIGN = 2 * N_DIGITS + 2  # place of the sign of the result, + in sums

NAMED = {"heads": 31, "mlps": 17}
PUBLISHED = 0.943  # share of sums that the named nodes solve alone; 0 of them solved by random ones
SUMS = 300
PAIRS = 64  # on which effects are measured
AGREEMENT = 0.9  # probability that a named node has a larger effect than one without a name

needs_the_hub = pytest.mark.skipif(
    os.environ.get("UNIVERSAL_RESPONSE_HUB") != "1", reason="UNIVERSAL_RESPONSE_HUB is not 1"
)

_OF_BLOCKS = {
    "ln1.w": "ln_1.weight",
    "ln1.b": "ln_1.bias",
    "ln2.w": "ln_2.weight",
    "ln2.b": "ln_2.bias",
    "attn.b_O": "attn.c_proj.bias",
    "mlp.W_in": "mlp.c_fc.weight",
    "mlp.b_in": "mlp.c_fc.bias",
    "mlp.W_out": "mlp.c_proj.weight",
    "mlp.b_out": "mlp.c_proj.bias",
}
# The mask and what is put where it masks: fixed by causality, no weights.
_BUFFERS = ("attn.mask", "attn.IGNORE")


def as_gpt2(state: Mapping[str, Tensor]) -> Any:
    """Weights of a HookedTransformer (relu, LayerNorm, learned places) as a GPT-2 of transformers.

    Raises:
        ValueError: weights are missing or left over, or shapes do not fit each other.
    """
    state = {name: each for name, each in state.items() if not name.endswith(_BUFFERS)}
    d_vocab, d_model = state["embed.W_E"].shape
    n_layers = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    n_heads, _, d_head = state["blocks.0.attn.W_Q"].shape
    if n_heads * d_head != d_model:
        raise ValueError(f"state: {n_heads} heads of {d_head} do not fill {d_model}, as in GPT-2")
    found: dict[str, Tensor] = {
        "transformer.wte.weight": state.pop("embed.W_E"),
        "transformer.wpe.weight": state.pop("pos_embed.W_pos"),
        "transformer.ln_f.weight": state.pop("ln_final.w"),
        "transformer.ln_f.bias": state.pop("ln_final.b"),
        "lm_head.weight": state.pop("unembed.W_U").T,
        "lm_head.bias": state.pop("unembed.b_U"),
    }
    for layer in range(n_layers):
        theirs, ours = f"blocks.{layer}.", f"transformer.h.{layer}."
        found |= {ours + new: state.pop(theirs + old) for old, new in _OF_BLOCKS.items()}
        # (head, d_model, d_head) -> (d_model, all heads side by side).
        weights = [state.pop(f"{theirs}attn.W_{each}").transpose(0, 1).flatten(1) for each in "QKV"]
        biases = [state.pop(f"{theirs}attn.b_{each}").flatten() for each in "QKV"]
        found[ours + "attn.c_attn.weight"] = torch.cat(weights, 1)
        found[ours + "attn.c_attn.bias"] = torch.cat(biases)
        found[ours + "attn.c_proj.weight"] = state.pop(theirs + "attn.W_O").flatten(0, 1)
    if state:
        raise ValueError(f"state: nothing in GPT-2 is like {', '.join(sorted(state))}")
    config = transformers.GPT2Config(
        vocab_size=d_vocab,
        n_positions=len(found["transformer.wpe.weight"]),
        n_embd=d_model,
        n_layer=n_layers,
        n_head=n_heads,
        n_inner=found["transformer.h.0.mlp.c_fc.bias"].numel(),
        activation_function="relu",
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = transformers.GPT2LMHeadModel(config)
        model.lm_head = nn.Linear(d_model, d_vocab)  # GPT-2's has no bias
    model.load_state_dict(found)
    return model.eval().requires_grad_(False)


def tokens_of_sums(first: np.ndarray, second: np.ndarray, n_digits: int = N_DIGITS) -> Tensor:
    """As these models read `12345+67890=+080235`, greatest digits first."""

    def digits(numbers: np.ndarray, n: int) -> np.ndarray:
        return numbers[:, None] // 10 ** np.arange(n)[::-1] % 10

    plus, equals = (np.full((len(first), 1), token) for token in (PLUS, EQUALS))
    operands = digits(first, n_digits), digits(second, n_digits)
    result = digits(first + second, n_digits + 1)
    return torch.from_numpy(
        np.concatenate([operands[0], plus, operands[1], equals, plus, result], 1).astype(np.int64)
    )


def drawn(seed: int, n: int = SUMS) -> Tensor:
    """The sums of the published measurement: operands below half of their range, one by one."""
    generator = np.random.default_rng(seed)
    half = 10**N_DIGITS // 2
    pairs = [[int(generator.integers(0, half)) for _ in "ab"] for _ in range(n)]
    return tokens_of_sums(*np.array(pairs).T)


def named_nodes(behaviour: list[dict[str, Any]]) -> set[Node]:
    """The nodes of a `_behavior.json`.

    Raises:
        ValueError: it has another form than that described above.
    """
    found = set()
    for each in behaviour:
        if set(each) != {"position", "layer", "is_head", "num", "tags"}:
            raise ValueError(f"behaviour: not a node: {each}")
        if not each["is_head"] and each["num"] != 0:
            raise ValueError(f"behaviour: a part of an MLP: {each}")
        head = each["num"] if each["is_head"] else None
        found.add(Node(each["layer"], head, each["position"]))
    return found


def with_a_digit_for_the_sign(of: Outputs) -> Outputs:
    """What `answers` can read: it knows of no sign in a result.

    Effects are of runs that begin with states, so that no token is read again. The digit is the
    same in all sums, so that its effect is nan.
    """
    tokens = of.tokens.clone()
    tokens[:, SIGN] = 0
    return replace(of, tokens=tokens)


def sizes_of_effects(hf_model: Any, tokens: Tensor, donors: Tensor) -> dict[Node, float]:
    """Of every node, the mean size of its effect on the digit on which it has the largest.

    A mean of sizes, not the size of a mean: a carry moves digits up here and down there.
    """
    model = bridged(copy.deepcopy(hf_model))
    nodes = all_nodes(model.cfg.n_layers, model.cfg.n_heads, range(N_PLACES - 1))
    of, by = (with_a_digit_for_the_sign(outputs(each, model)) for each in (tokens, donors))
    effects = each_patched(nodes, of, by, model, unembedding_of(model)).logit.abs()
    size = effects.nanmean(1).nan_to_num().amax(1)
    return dict(zip(nodes, size.tolist(), strict=True))


def alone(hf_model: Any, kept: set[Node], tokens: Tensor, means_of: Tensor) -> float:
    """Share of sums whose every digit is right with these nodes alone, all others at their mean."""
    model = bridged(copy.deepcopy(hf_model))
    nodes = all_nodes(model.cfg.n_layers, model.cfg.n_heads, range(N_PLACES))
    means = mean_over_problems(outputs(means_of, model))
    said = Judge(model, outputs(tokens, model), means, nodes, unembedding_of(model)).answers(kept)
    return float(said.is_right[:, 1:].all(1).double().mean())  # the sign is no digit


def agreement(sizes: Mapping[Node, float], named: set[Node]) -> float:
    """Probability that a node with a name has a larger effect than one without."""
    return float(roc_auc_score([node in named for node in sizes], list(sizes.values())))


# Random weights in the naming of HookedTransformer, and the same in plain words.


def random_state(width: int = 12, inner: int = 20, n_layers: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    d_head = width // HEADS
    state = {
        "embed.W_E": random(VOCABULARY, width),
        "pos_embed.W_pos": random(N_PLACES, width),
        "ln_final.w": 1 + 0.3 * random(width),
        "ln_final.b": random(width),
        "unembed.W_U": random(width, VOCABULARY),
        "unembed.b_U": random(VOCABULARY),
    }
    for layer in range(n_layers):
        more = {f"attn.W_{each}": random(HEADS, width, d_head) for each in "QKV"}
        more |= {f"attn.b_{each}": random(HEADS, d_head) for each in "QKV"}
        more |= {"attn.W_O": random(HEADS, d_head, width), "attn.b_O": random(width)}
        more |= {"mlp.W_in": random(width, inner), "mlp.b_in": random(inner)}
        more |= {"mlp.W_out": random(inner, width), "mlp.b_out": random(width)}
        for norm in ("ln1", "ln2"):
            more |= {f"{norm}.w": 1 + 0.3 * random(width), f"{norm}.b": random(width)}
        more["attn.mask"] = torch.ones(N_PLACES, N_PLACES).tril().bool()
        more["attn.IGNORE"] = torch.tensor(-torch.inf)
        state |= {f"blocks.{layer}.{name}": each for name, each in more.items()}
    return state


def plain_logits(state: Mapping[str, Tensor], tokens: Tensor, n_layers: int = 2) -> Tensor:
    """Of a HookedTransformer, head by head."""

    def normed(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * state[f"{name}.w"] + state[f"{name}.b"]

    t = tokens.shape[1]
    future = torch.ones(t, t).triu(1).bool()
    x = state["embed.W_E"][tokens] + state["pos_embed.W_pos"][:t]
    for layer in range(n_layers):
        of = {name: state[f"blocks.{layer}.{name}"] for name in ("attn.W_O", "attn.b_O")}
        inside = normed(x, f"blocks.{layer}.ln1")
        x = x + of["attn.b_O"]
        for head in range(HEADS):
            q, k, v = (
                inside @ state[f"blocks.{layer}.attn.W_{each}"][head]
                + state[f"blocks.{layer}.attn.b_{each}"][head]
                for each in "QKV"
            )
            scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
            pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
            x = x + pattern @ v @ of["attn.W_O"][head]
        mlp = f"blocks.{layer}.mlp."
        inside = normed(x, f"blocks.{layer}.ln2") @ state[mlp + "W_in"] + state[mlp + "b_in"]
        x = x + inside.relu() @ state[mlp + "W_out"] + state[mlp + "b_out"]
    return normed(x, "ln_final") @ state["unembed.W_U"] + state["unembed.b_U"]


EXAMPLE = json.loads("""[
{"position": 3, "layer": 0, "is_head": true, "num": 0, "tags": ["Fail%:2", "Attn:P3=100"]},
{"position": 9, "layer": 0, "is_head": false, "num": 0, "tags": ["Fail%:7", "Impact:A54"]},
{"position": 12, "layer": 1, "is_head": true, "num": 2, "tags": []}]""")


def test_a_converted_model_says_what_it_said():
    state, tokens = random_state(), drawn(0, 4)
    expected = plain_logits(state, tokens)
    model = as_gpt2(state)
    torch.testing.assert_close(model(tokens).logits, expected, rtol=1e-4, atol=1e-4)
    bridge = bridged(model)
    normed = outputs(tokens, bridge).normed
    found = unembedding_of(bridge).logits(normed)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", [name for name in random_state(n_layers=1) if not name.endswith(_BUFFERS)]
)
def test_every_weight_has_its_place(name):
    """Changed there, the converted model changes as the plain one does, so that none is mixed up.

    The bias of keys adds the same to all scores of a query: nothing changes.
    """
    tokens = drawn(0, 2)
    state = random_state(n_layers=1)
    before = plain_logits(state, tokens, 1)
    state[name] = state[name].flip(-1) + 0.5
    expected = plain_logits(state, tokens, 1)
    assert name.endswith("b_K") or (expected - before).abs().max() > 0.01
    found = as_gpt2(state)(tokens).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match=r"^state: nothing in GPT-2 is like blocks\.0\.attn\.rot"):
        as_gpt2(random_state() | {"blocks.0.attn.rotary_sin": torch.zeros(3)})
    wide = random_state()
    wide["blocks.0.attn.W_Q"] = torch.zeros(HEADS, 12, 7)
    with pytest.raises(ValueError, match=r"^state: 3 heads of 7 do not fill 12, as in GPT-2"):
        as_gpt2(wide)
    lacking = random_state()
    del lacking["unembed.b_U"]
    with pytest.raises(KeyError, match="b_U"):
        as_gpt2(lacking)


def test_sums_are_written_as_they_write_them():
    (found,) = tokens_of_sums(np.array([12345]), np.array([67890])).tolist()
    assert "".join("0123456789+-="[token] for token in found) == "12345+67890=+080235"
    assert len(found) == N_PLACES
    assert found[SIGN] == PLUS


def test_nodes_are_read_as_they_write_them():
    assert named_nodes(EXAMPLE) == {Node(0, 0, 3), Node(0, None, 9), Node(1, 2, 12)}
    with pytest.raises(ValueError, match=r"^behaviour: not a node"):
        named_nodes([{"loc": "P12L0H0"}])
    with pytest.raises(ValueError, match=r"^behaviour: a part of an MLP"):
        named_nodes([EXAMPLE[1] | {"num": 1}])


def test_effects_are_those_of_whole_runs_with_the_sign_in_its_place():
    """Of the last MLP where the units are predicted, on them alone, with hooks of PyTorch."""
    model, tokens, donors = as_gpt2(random_state()), drawn(0, 6), drawn(1, 6)
    node, place = Node(1, None, N_PLACES - 2), N_PLACES - 2
    mlp, given = model.transformer.h[1].mlp, []
    handle = mlp.register_forward_hook(lambda module, args, output: given.append(output))
    model(donors)
    before = model(tokens).logits[:, place, :10].log_softmax(-1)
    handle.remove()

    def put(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        at = torch.arange(N_PLACES)[:, None] == place
        return torch.where(at, given[0], output)

    handle = mlp.register_forward_hook(put)
    after = model(tokens).logits[:, place, :10].log_softmax(-1)
    handle.remove()
    right, donor = tokens[:, -1], donors[:, -1]
    change, rows = after - before, torch.arange(6)
    effect = (change[rows, donor] - change[rows, right]) / 2
    expected = effect[right != donor].abs().mean().item()
    assert expected > 0.1
    assert sizes_of_effects(model, tokens, donors)[node] == pytest.approx(expected, rel=1e-4)


def test_random_weights_do_not_pass():
    """What is asked of the published model below is asked of random weights, and fails."""
    model, named = as_gpt2(random_state()), named_nodes(EXAMPLE)
    sizes = sizes_of_effects(model, drawn(0, 8), drawn(1, 8))
    assert len(sizes) == (N_PLACES - 1) * LAYERS * (HEADS + 1)
    assert agreement(sizes, named) < AGREEMENT
    assert alone(model, named, drawn(0, 8), drawn(1, 8)) == 0


@pytest.fixture(scope="module")
def published():
    """The model as GPT-2, and the nodes that are named in it."""
    import huggingface_hub

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        pytest.fail("the hub was asked for, but is shut off: set HF_HUB_OFFLINE=0 as well")
    weights, behaviour = (
        huggingface_hub.hf_hub_download(REPOSITORY, NAME + ending)
        for ending in (".pth", "_behavior.json")
    )
    # Tensors alone are unpickled, and no code is run.
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model = as_gpt2(state.get("model", state))
    with open(behaviour, encoding="utf-8") as file:
        return model, named_nodes(json.load(file))


@needs_the_hub
def test_the_published_model_is_as_described(published):
    model, named = published
    config = model.config
    found = (config.n_layer, config.n_head, config.n_embd, config.n_inner, config.vocab_size)
    assert found == (LAYERS, HEADS, WIDTH, INNER, VOCABULARY)
    assert config.n_positions == N_PLACES
    mlps = sum(node.head is None for node in named)
    assert {"heads": len(named) - mlps, "mlps": mlps} == NAMED
    tokens = drawn(2)
    said = model(tokens).logits[:, SIGN - 1 : -1].argmax(-1)
    assert (said == tokens[:, SIGN:]).all(1).double().mean() > 0.99


@needs_the_hub
def test_named_nodes_have_the_larger_effects(published):
    model, named = published
    sizes = sizes_of_effects(model, drawn(0, PAIRS), drawn(1, PAIRS))
    assert agreement(sizes, named) >= AGREEMENT


@needs_the_hub
def test_named_nodes_alone_solve_as_many_sums_as_published(published):
    model, named = published
    tokens, means_of = drawn(0), drawn(1)
    assert alone(model, named, tokens, means_of) == pytest.approx(PUBLISHED, abs=0.02)
    generator = np.random.default_rng(0)
    nodes = all_nodes(LAYERS, HEADS, range(N_PLACES))
    parts = ([each for each in nodes if (each.head is None) == is_mlp] for is_mlp in (False, True))
    random = {
        part[k]
        for part, size in zip(parts, NAMED.values(), strict=True)
        for k in generator.choice(len(part), size, replace=False)
    }
    assert alone(model, random, tokens, means_of) < 0.05
