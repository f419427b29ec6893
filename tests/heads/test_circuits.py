"""QK and OV circuits, against dense matrices, what models compute, and heads set by hand."""

import hand_wired
import plain
import pytest
import raw
import torch
from tiny_models import bridged, random_tokens, tiny_hf_model, tiny_model
from universal_response import activations, heads
from universal_response.heads import Factors

T = 8
TOKENS = random_tokens(1, T)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def factors(seed, width=12, rank=4):
    return Factors(drawn(width, rank, seed=seed), drawn(rank, width, seed=seed + 100))


def dense(circuit):
    return circuit.left @ circuit.right


def test_factors_are_their_product():
    a, b = factors(0), factors(1, rank=3)
    torch.testing.assert_close(a.norm(), torch.linalg.matrix_norm(dense(a)))
    torch.testing.assert_close(dense(a @ b), dense(a) @ dense(b))
    torch.testing.assert_close(dense(a.transposed), dense(a).T)
    # More columns than rows, as where a head is wider than its share.
    wide = factors(2, width=4, rank=6)
    torch.testing.assert_close(wide.norm(), torch.linalg.matrix_norm(dense(wide)))


def test_k_composition_is_that_of_the_matrices():
    sender, receiver = factors(3), factors(4)
    ov, qk = dense(sender), dense(receiver)
    norm = torch.linalg.matrix_norm
    expected = norm(ov @ qk.T) / (norm(ov) * norm(qk))
    torch.testing.assert_close(heads.k_composition(sender, receiver), expected)
    nothing = Factors(0 * sender.left, sender.right)
    assert heads.k_composition(nothing, receiver) == 0


def test_a_receiver_of_random_numbers():
    """It reads one of the directions that a sender writes as well as any: 1 / width on average."""
    width = 48
    found = heads.random_composition(factors(5, width=width), draws=16)
    assert float(found) == pytest.approx(width**-0.5, rel=0.1)
    assert torch.equal(found, heads.random_composition(factors(5, width=width), draws=16))


def test_the_positive_share_is_that_of_the_matrices():
    circuit, between = factors(6), drawn(12, 12, seed=7)
    values = torch.linalg.eigvals(dense(circuit) @ between)
    expected = values.real.sum() / values.abs().sum()
    torch.testing.assert_close(heads.positive_share(circuit, between), expected)
    unit = torch.eye(12, dtype=torch.float64)
    squared = Factors(circuit.left, circuit.left.T)
    torch.testing.assert_close(heads.positive_share(squared, unit), torch.ones_like(expected))
    opposite = Factors(circuit.left, -circuit.left.T)
    torch.testing.assert_close(heads.positive_share(opposite, unit), -torch.ones_like(expected))


# models ------------------------------------------------------------------------------------------

# Norms of queries and keys: none, of each head with a gain that all share, with gains of their own,
# of all heads together; centred norms.
CIRCUITS = ("gpt2", "llama", "gemma3", "phi3", "gpt_neox", "cohere", "olmo2")


def without_biases(family):
    """Of projections: circuits are what scores have that is of both tokens."""
    model = tiny_hf_model(family, torch.float64)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    return model


def scale_of(module, x):
    """What a norm divides by, of every vector (.., width)."""
    if module is None:
        return torch.ones_like(x[..., :1])
    if "LayerNorm" in type(module).__name__:
        x = x - x.mean(-1, keepdim=True)
    names = ("variance_epsilon", "eps")
    constant = next(getattr(module, name) for name in names if hasattr(module, name))
    return (x.square().mean(-1, keepdim=True) + constant).sqrt()


@pytest.fixture(scope="module", params=CIRCUITS)
def captured(request):
    """A model, its bridge, and of layer 1 what goes through it."""
    hf, layer, seen = without_biases(request.param), 1, {}
    inside = raw.attention(hf, layer)

    def keep(name):
        return lambda _, args, output=None: seen.__setitem__(name, (args, output))

    handles = [
        raw.blocks(hf)[layer].register_forward_pre_hook(keep("block")),
        inside.register_forward_hook(keep("attention")),
    ]
    for name in ("q_norm", "k_norm"):
        if hasattr(inside, name):
            handles.append(getattr(inside, name).register_forward_hook(keep(name)))
    with raw.hooks(*handles), plain.uncast(), plain._exact(hf), torch.no_grad():
        attended = raw.attended(hf, TOKENS)[layer]
    bridge = bridged(without_biases(request.param))
    return hf, bridge, activations.layer_weights(bridge)[layer], seen, attended


def before_norm(hf, seen, name, head):
    """Of every token what a norm of queries or keys divides a head's by, (token, 1)."""
    if name not in seen:
        return 1.0
    (x, *_), _ = seen[name]
    scale = scale_of(getattr(raw.attention(hf, 1), name), x)
    if x.shape[1] != T:  # (sequence, head, token, width)
        scale = scale.transpose(1, 2)
    number = head * raw.sizes(hf)[1] // raw.sizes(hf)[0] if name == "k_norm" else head
    return scale[0, :, number] if scale.ndim == 4 else scale[0]


def test_scores_are_made_by_the_qk_circuit(captured):
    """But for the scales of norms, which are positive numbers of each token."""
    hf, bridge, weights, seen, attended = captured
    (x, *_), _ = seen["block"]
    x = x[0] / scale_of(raw.norm(hf, 1), x)[0]
    turns = heads.rotations(bridge, 1, torch.arange(T))
    for head in range(4):
        scores = attended.queries[0, head] @ attended.keys[0, head].T
        scores = scores * before_norm(hf, seen, "q_norm", head)
        scores = scores * before_norm(hf, seen, "k_norm", head).T if "k_norm" in seen else scores
        for q in range(T):
            for k in range(q + 1):
                circuit = heads.qk_circuit(weights, head, turns[q - k])
                found = x[q] @ circuit.left @ circuit.right @ x[k]
                # Rotations are read off with errors of 1e-7.
                torch.testing.assert_close(
                    found, scores[q, k], rtol=0, atol=1e-5 * float(scores.abs().max())
                )


def test_what_heads_write_is_made_by_the_ov_circuit(captured):
    hf, _, weights, seen, attended = captured
    (x, *_), _ = seen["block"]
    x = x[0] / scale_of(raw.norm(hf, 1), x)[0]
    after = raw.norm_after(hf, 1, "attention")
    total = 0
    for head in range(4):
        circuit = heads.ov_circuit(weights, head)
        total = total + attended.pattern[0, head] @ x @ circuit.left @ circuit.right
    _, output = seen["attention"]
    output = output[0] if isinstance(output, tuple) else output
    with plain.uncast(), torch.no_grad():
        whole = output if after is None else after(output)
    expected = whole[0] * scale_of(after, output)[0]
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


def test_circuits_of_centred_norms_do_not_see_the_mean():
    """What all entries of a vector have in common is no part of what a LayerNorm gives."""
    weights = activations.layer_weights(bridged(without_biases("gpt2")))[1]
    same = torch.ones(32, dtype=torch.float64)
    qk, ov = heads.qk_circuit(weights, 2), heads.ov_circuit(weights, 2)
    for seen in (same @ qk.left, qk.right @ same, same @ ov.left):
        torch.testing.assert_close(seen, torch.zeros_like(seen), rtol=0, atol=1e-6)


def test_overlaps_of_tokens():
    hf, bridge = tiny_hf_model("gpt2"), tiny_model("gpt2")
    found = heads.token_overlap(bridge, activations.unembedding_of(bridge))
    embedding = hf.get_input_embeddings().weight.double()
    embedding = embedding - embedding.mean(-1, keepdim=True)
    normed = embedding / embedding.square().mean(-1, keepdim=True).sqrt()
    out = hf.lm_head.weight.double() * hf.transformer.ln_f.weight.double()
    out = out - out.mean(-1, keepdim=True)
    # What all tokens share is taken off, too.
    normed, out = normed - normed.mean(0), out - out.mean(0)
    torch.testing.assert_close(found["copying"], out.T @ normed)
    torch.testing.assert_close(found["matching"], normed.T @ normed)


# heads set by hand -------------------------------------------------------------------------------

WIRED = {make.__name__: make for make in hand_wired.ALL}


def compositions(wired):
    """Of the receiver with every head of layer 0."""
    first, second = activations.layer_weights(wired.bridge)
    turn = None
    if wired.bridge.cfg.n_key_value_heads is not None:
        (turn,) = heads.rotations(wired.bridge, 1, torch.tensor([15]))
    receiver = heads.qk_circuit(second, wired.receiver[1], turn)
    return torch.stack(
        [heads.k_composition(heads.ov_circuit(first, head), receiver) for head in range(4)]
    )


@pytest.mark.parametrize("name", ["gpt2_through_keys", "llama_through_keys"])
def test_the_sender_composes_with_the_keys(name):
    wired = WIRED[name]()
    found = compositions(wired)
    others = found[[head for head in range(4) if head != wired.sender[1]]]
    assert int(found.argmax()) == wired.sender[1]
    assert found[wired.sender[1]] > 3 * others.max()


@pytest.mark.parametrize("name", ["gpt2_through_queries", "gpt2_off_by_one"])
def test_no_other_sender_does(name):
    wired = WIRED[name]()
    found = compositions(wired)
    assert found.max() < 1e-6


@pytest.mark.parametrize("name", WIRED)
def test_the_receiver_copies(name):
    wired = WIRED[name]()
    unembedding = activations.unembedding_of(wired.bridge)
    overlap = heads.token_overlap(wired.bridge, unembedding)
    second = activations.layer_weights(wired.bridge)[1]
    circuit = heads.ov_circuit(second, wired.receiver[1])
    assert float(heads.positive_share(circuit, overlap["copying"])) > 0.99


def test_duplicate_token_heads_match():
    wired = WIRED["gpt2_off_by_one"]()
    overlap = heads.token_overlap(wired.bridge, activations.unembedding_of(wired.bridge))
    second = activations.layer_weights(wired.bridge)[1]
    for head in range(4):
        share = heads.positive_share(heads.qk_circuit(second, head), overlap["matching"])
        if wired.roles[1, head] == "duplicate":
            assert float(share) > 0.99
        else:
            assert not float(share) > 0.5
