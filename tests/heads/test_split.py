"""The change split into heads, against Hugging Face runs, frozen heads, and known circuits."""

import hand_wired
import plain
import pytest
import raw
import runs
import torch
from runs import TOKENS, close
from tiny_models import LAYERS, tiny_model
from universal_response import activations, heads, metrics
from universal_response.heads import split
from universal_response.propagation import (
    TOKENS_PER_PASS,
    FreezeHeads,
    chunked_inner_products,
    inner_products,
    linear_inner_products,
    positions,
)

# Norms after sublayers, parallel blocks, a bound of scores, a factor on what is added, a fused
# matrix.
FINITE = ("gpt2", "gemma2", "gemma3", "gpt_neox", "granite", "olmo2")
LIMIT = ("llama", "gemma3", "phi3")
T = TOKENS.shape[1]
SOURCES = torch.tensor([[1, 4, 3], [8, 2, 1]])
DISTANCES = [5, 1, 4]
EPSILON = 0.3


def changes(family, epsilon, tokens=TOKENS, **how):
    model = runs.bridge(family)
    asked = {"sources": SOURCES, "distances": DISTANCES} | how
    with plain.uncast():
        return heads.split_changes(tokens, model, epsilon=epsilon, **asked)


def pairs(found):
    return list(zip(*(each.tolist() for each in (found.sequence, found.source, found.target))))  # noqa: B905


def below(found, place):
    """Layers of heads, and of MLPs, that have written before a position."""
    at = found.positions[place]
    if place == 0:
        return [], []
    before = list(range(at.layer))
    return [*before, at.layer], before if at.sublayer == "attention" else [*before, at.layer]


def summed(found, place):
    """(pair, d_model)."""
    of_heads, of_mlps = below(found, place)
    total = sum(found.heads[:, n].sum((1, 2)) for n in of_heads)
    return total + sum(found.mlps[:, n] for n in of_mlps)


@pytest.mark.parametrize(
    ("family", "epsilon"),
    [(family, EPSILON) for family in FINITE] + [(family, None) for family in LIMIT],
)
def test_the_parts_make_the_change(family, epsilon):
    """And the change is that of two runs, or its derivative."""
    found = changes(family, epsilon)
    at = pairs(found)
    expected = [
        (sequence, source, source + apart)
        for sequence, row in enumerate(SOURCES.tolist())
        for source in row
        for apart in DISTANCES
        if source + apart < T
    ]
    assert sorted(at) == sorted(expected)
    assert found.positions == positions(runs.bridge(family))
    hf = runs.hf_model(family)
    plainly = (
        plain.plain_limit(hf, TOKENS)
        if epsilon is None
        else plain.plain_streams(hf, TOKENS, [epsilon])
    )
    of_pairs = torch.stack([plainly.change[:, 0, s, i, j] for s, i, j in at])
    close(found.change, of_pairs)
    states = torch.stack([plainly.clean[:, s, j].norm(dim=-1) for s, _, j in at])
    close(found.state, states)
    for place in range(1, len(found.positions)):
        close(summed(found, place), found.change[:, place])
    # A post-norm's gain, and rounding.
    assert split.sum_error(found) < 1e-12


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
@pytest.mark.parametrize("epsilon", [1e-3, 1.0, None])
def test_the_parts_in_float32(family, epsilon):
    found = heads.split_changes(TOKENS, tiny_model(family), SOURCES, DISTANCES, epsilon)
    assert split.sum_error(found) < 1e-5
    assert found.change.dtype == torch.float32


def test_the_error_is_seen():
    found = changes("llama", EPSILON)
    found.mlps[0, 1, 3] += 0.01 * found.change[0, -1].norm()
    assert split.sum_error(found) > 0.005


# parts of heads ----------------------------------------------------------------------------------


def attended_and_output(family, weights):
    """Of a run with weakened inputs: attention of every layer, and its output."""
    hf, outputs = runs.hf_model(family), []

    def keep(_, args, output):
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handles = [raw.attention(hf, layer).register_forward_hook(keep) for layer in range(LAYERS)]
    handles.append(raw.edited_input(raw.blocks(hf)[0], lambda x: x * weights[..., None]))
    with raw.hooks(*handles), plain.uncast(), plain._exact(hf), torch.no_grad():
        return raw.attended(hf, TOKENS), outputs


def parts_of_z(clean, moved):
    """(sequence, head, token, part, d_head)."""
    p, v, dp, dv = clean.pattern, clean.values, moved.pattern - clean.pattern, moved.values
    dv = dv - clean.values
    return torch.stack([p @ dv, dp @ v, dp @ dv], 3)


def through_norm(norm, x, d, part):
    """What a part of d makes of the change of a norm: r' part but for what lies along 2 x + d.

    Only along 2 x + d does a part change the norm's scale; the whole of d makes the whole change.
    (.., part, width), x and d (.., 1, width).
    """
    with plain.uncast():
        whole, scaled = norm(x + d) - norm(x), norm(x + d) / (x + d)
    share = (part * (2 * x + d)).mean(-1, keepdim=True) / (d * (2 * x + d)).mean(-1, keepdim=True)
    share = share.nan_to_num()  # where nothing changes
    return (part - share * d) * scaled + share * whole


def written_by_parts(family, source, epsilon):
    """What a weakened source changes of what heads write, (layer, sequence, token, head, part, ..).

    dz = p dv + dp v + dp dv of two runs, times W_O, through the norm after attention.
    """
    hf, found = runs.hf_model(family), []
    n_heads, _, width = raw.sizes(hf)
    weights = torch.ones(2, T, dtype=torch.float64)
    before = attended_and_output(family, weights)
    weights[:, source] -= epsilon
    after = attended_and_output(family, weights)
    for layer in range(LAYERS):
        dz = parts_of_z(before[0][layer], after[0][layer])
        out = raw.weight(raw.mixing(hf, layer)).unflatten(0, (n_heads, width))
        written = torch.einsum("shtpd,hdm->sthpm", dz, out)
        norm, x = raw.norm_after(hf, layer, "attention"), before[1][layer]
        if norm is not None:
            d = (after[1][layer] - x)[:, :, None, None]
            # Nothing changes at the tokens before the source.
            written = through_norm(norm, x[:, :, None, None], d, written)
        found.append(written * getattr(hf.config, "residual_multiplier", 1.0))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("family", "epsilon"),
    [
        ("gpt2", None),
        ("llama", EPSILON),
        ("gemma3", EPSILON),
        ("gemma3", None),
        ("granite", EPSILON),
    ],
)
def test_every_part_of_every_head(family, epsilon):
    source, weak = 2, 1e-4
    found = changes(family, epsilon, sources=torch.full((2, 1), source), distances=[1, 3, 6])
    if epsilon is None:
        up, down = (written_by_parts(family, source, each) for each in (weak, -weak))
        written = (up - down) / (2 * weak)
        # Twice an even function.
        written[..., 2, :] = 0
        assert float(found.heads[:, :, :, 2].abs().max()) == 0
    else:
        written = written_by_parts(family, source, epsilon)
    expected = torch.stack([written[:, s, j] for s, _, j in pairs(found)])
    # Of a central difference, off by weak^2.
    close(found.heads, expected, within=1e-6 if epsilon is None else 1e-10)


@pytest.mark.parametrize(
    ("what", "part", "epsilon"),
    [("pattern", "values", EPSILON), ("values", "pattern", EPSILON), ("values", "pattern", None)],
)
def test_a_part_is_the_change_with_the_other_frozen(what, part, epsilon):
    """In the layer itself: what lies behind it reacts."""
    model, layer, seen = runs.bridge("llama"), 1, {}

    def z(of):
        if of.layer == layer:
            for row, at in enumerate(zip(of.index.sequence, of.index.source, of.index.target)):  # noqa: B905
                seen[tuple(map(int, at))] = of.change[row]

    found = changes("llama", epsilon)
    chunk = [epsilon] if epsilon else None
    for head in (0, 3):
        edits, how = [FreezeHeads(layer, [head], what)], {"sources": SOURCES, "observe": {"z": z}}
        with plain.uncast():
            list(chunked_inner_products(TOKENS, model, [chunk], edits=edits, **how))
        out = activations.layer_weights(model)[layer].mixed[head]
        expected = torch.stack([seen[at][head] for at in pairs(found)]) @ out
        close(found.heads[:, layer, head, heads.PARTS.index(part)], expected)


# what parts carry --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "epsilon"), [("gpt2", None), ("gemma3", EPSILON), ("gpt_neox", EPSILON)]
)
def test_carried_shares_make_c_delta(family, epsilon):
    found, model = changes(family, epsilon), runs.bridge(family)
    of_heads, of_mlps, c_delta = heads.carried(found)
    with plain.uncast():
        products = (
            linear_inner_products(TOKENS, model)
            if epsilon is None
            else inner_products(TOKENS, model, [epsilon])
        )
    delta = metrics.delta(products)[:, 0]
    expected = torch.stack([delta[:, s, i, j] for s, i, j in pairs(found)])
    close(c_delta, expected)
    total = of_heads.sum((2, 3, 4)) + of_mlps.sum(2)
    close(total[:, 1:], expected[:, 1:])
    assert float(total[:, 0].abs().max()) == 0
    for place, state in enumerate(found.change.unbind(1)):
        layers_of_heads, layers_of_mlps = below(found, place)
        for layer in range(LAYERS):
            for parts, carried, layers in (
                (found.heads[:, layer], of_heads[:, place, layer], layers_of_heads),
                (found.mlps[:, layer], of_mlps[:, place, layer], layers_of_mlps),
            ):
                if layer not in layers:
                    assert float(carried.abs().max()) == 0
                    continue
                along = state.view(len(state), *[1] * (parts.ndim - 2), -1)
                lengths = state.norm(dim=-1) * found.state[:, place]
                lengths = lengths.view(-1, *[1] * (carried.ndim - 1))
                # The first MLP of parallel blocks sees no change.
                torch.testing.assert_close(carried * lengths, (parts * along).sum(-1))


@pytest.mark.parametrize("make", hand_wired.ALL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("epsilon", [0.05, None])
def test_the_receiver_carries_the_response(make, epsilon):
    """By its values; its pattern moves a little against them through keys, with them through
    queries (`hand_wired`)."""
    wired, n = make(), 12
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randperm(hand_wired.VOCABULARY, generator=generator)[:n] for _ in range(2)]
    tokens = torch.stack(rows).repeat(1, 2)
    apart = wired.offset(wired.receiver, n)
    sources = torch.arange(2 * n)[n - apart : 2 * n - apart].expand(2, -1)
    # Where a token stands at position 0, as rest does, moving attention there changes nothing.
    sources = sources[:, sources[0] > 0]
    found = heads.split_changes(tokens, wired.bridge, sources, [apart], epsilon)
    of_heads, of_mlps, c_delta = heads.carried(found)
    layer, head = wired.receiver
    after = 2 * layer + 1
    receiver = of_heads[:, after, layer, head] / c_delta[:, after, None]
    assert float(receiver.sum(1).min()) > 0.8
    assert float(receiver[:, 0].min()) > 0.8
    others = of_heads[:, after].sum((3,)) / c_delta[:, after, None, None]
    others[:, layer, head] = 0
    assert float(others.abs().max()) < 0.2
    assert float(of_mlps.abs().max()) == 0
    pattern = receiver[:, 1]
    if wired.composition == "keys":
        assert float(pattern.max()) < 0
    if wired.composition == "queries":
        assert float(pattern.min()) > 0
    assert float(pattern.abs().max()) < 0.1


# what is refused ---------------------------------------------------------------------------------


def test_refused():
    with pytest.raises(ValueError, match=r"^distances=\[3, 0\]: .* use dj >= 1$"):
        changes("llama", EPSILON, distances=[3, 0])
    with pytest.raises(ValueError, match=r"^model: its mlp is no module"):
        changes("opt", EPSILON)
    with pytest.raises(ValueError, match=r"^observe=values: .* code of its own"):
        changes("gptj", EPSILON)


def test_a_distance_given_twice_is_one():
    once, twice = (changes("gpt2", EPSILON, distances=each) for each in ([1, 4], [4, 1, 4]))
    assert torch.equal(once.heads, twice.heads)
    assert torch.equal(once.target, twice.target)


def test_pairs_are_the_same_however_many_passes_they_take(monkeypatch):
    whole = changes("gemma3", EPSILON)
    monkeypatch.setitem(TOKENS_PER_PASS, "cpu", 10)
    found = changes("gemma3", EPSILON)
    assert pairs(found) == pairs(whole)
    close(found.heads, whole.heads)
    close(found.mlps, whole.mlps)
