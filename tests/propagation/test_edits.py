"""Edits of a model, against the Hugging Face model with hooks that do the same (`raw`)."""

import functools
import re

import plain
import pytest
import raw
import torch
from tiny_models import LAYERS, bridged, random_tokens, tiny_hf_model, tiny_model
from universal_response.propagation import (
    FreezeHeads,
    PatchEdge,
    ReplaceHeads,
    ReplaceNeurons,
    ReplaceOutput,
    Start,
    chunked_inner_products,
    forward,
    inner_products,
    positions,
    read,
    recognised,
)

# Norms of both kinds, after sublayers and none before, shared keys, norms of queries and keys,
# windows, parallel blocks, one matrix for queries, keys and values, a factor on what is added.
FAMILIES = ("gpt2", "llama", "gemma3", "gpt_neox", "qwen3", "olmo2", "phi3", "granite", "cohere")
SEQUENCES, T = 2, 8  # longer than the sliding windows
WIDTH, D_HEAD = 32, 8
TOKENS = random_tokens(SEQUENCES, T)
# Of the largest number compared; 1e-14 were seen.
EXACT = 1e-12

hf_model = functools.cache(functools.partial(tiny_hf_model, dtype=torch.float64))


def bridge(family):
    return tiny_model(family, torch.float64)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def assert_close(found, expected, within=EXACT):
    assert found.shape == expected.shape
    largest = float(expected.abs().max())
    off = float((found - expected).abs().max())
    assert largest > 0
    assert off <= within * largest


@functools.cache
def whole_state(family):
    return last_state(hf_model(family))


def last_state(hf):
    """After the final norm; every edit and hook of `raw` is in force."""
    with plain.uncast(), plain._exact(hf), torch.no_grad():
        return hf.base_model(TOKENS, use_cache=False).last_hidden_state


def ran(family, **how):
    model = bridge(family)
    with plain.uncast():
        return forward(TOKENS, model, **how)


class Watched(dict):
    """What was seen of each kind, in order."""

    def __init__(self, *kinds):
        super().__init__({kind: [] for kind in kinds})
        self.observe = {kind: self[kind].append for kind in kinds}

    def values(self, kind):
        """(sequence, token, ..), of patterns as they are."""
        shown = [seen.value for seen in self[kind]]
        return shown if kind == "pattern" else [v.unflatten(0, TOKENS.shape) for v in shown]


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


# values --------------------------------------------------------------------------------------


def test_a_pass_is_that_of_the_model(family):
    assert_close(ran(family), whole_state(family))


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_a_pass_in_float32(family):
    hf = tiny_hf_model(family)
    with torch.no_grad():
        expected = hf.base_model(TOKENS).last_hidden_state
    assert_close(forward(TOKENS, tiny_model(family)), expected, within=1e-5)


def test_what_is_seen_is_what_the_model_has(family):
    hf = hf_model(family)
    watched = Watched("residual", "pattern", "values", "z", "output", "normed_output", "neurons")
    ran(family, observe=watched.observe)
    expected = {"neurons": [], "output": [], "normed_output": []}
    handles = []

    def keep(kind, module):
        def hook(_, args, output):
            expected[kind].append(output[0] if isinstance(output, tuple) else output)

        handles.append(module.register_forward_hook(hook))

    for layer in range(LAYERS):
        raw_mlp = raw.blocks(hf)[layer].mlp
        for sublayer, module in (("attention", raw.attention(hf, layer)), ("mlp", raw_mlp)):
            keep("output", module)
            keep("normed_output", raw.norm_after(hf, layer, sublayer) or module)
        matrix = raw.from_neurons(hf, layer)
        handles.append(
            matrix.register_forward_pre_hook(lambda _, args: expected["neurons"].append(args[0]))
        )
    with raw.hooks(*handles), plain.uncast(), plain._exact(hf), torch.no_grad():
        attended = raw.attended(hf, TOKENS)
        whole = hf.base_model(TOKENS, use_cache=False, output_attentions=True)
    _, key_heads, _ = raw.sizes(hf)
    expected = {kind: states[: len(states) // 2] for kind, states in expected.items()}
    expected["pattern"] = list(whole.attentions)
    expected["z"] = [each.z.transpose(1, 2) for each in attended]
    shared = slice(None, None, raw.sizes(hf)[0] // key_heads)
    expected["values"] = [each.values[:, shared].transpose(1, 2) for each in attended]
    expected["residual"] = list(plain.plain_streams(hf, TOKENS, [0.0]).clean)
    for kind, states in expected.items():
        assert len(watched[kind]) == len(states), kind
        for found, state in zip(watched.values(kind), states, strict=True):
            assert_close(found, state)
    assert [seen.position for seen in watched["residual"]] == [
        at.index for at in positions(bridge(family))
    ]
    for kind in ("output", "normed_output"):
        assert [(seen.layer, seen.sublayer) for seen in watched[kind]] == [
            (layer, sublayer) for layer in range(LAYERS) for sublayer in ("attention", "mlp")
        ]
    for kind in ("pattern", "values", "z", "neurons"):
        assert [seen.layer for seen in watched[kind]] == list(range(LAYERS))
    assert all(seen.change is None for kind in watched for seen in watched[kind])


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "gpt_neox"])
def test_a_pass_may_begin_further_on(family):
    model, watched = bridge(family), Watched("residual", "z")
    whole = ran(family, observe=watched.observe)
    for layer in range(LAYERS):
        at = next(
            seen for seen in watched["residual"][::-1] if seen.layer < layer or seen.position == 0
        )
        later = Watched("residual", "z")
        start = Start(layer, at.value.unflatten(0, TOKENS.shape))
        assert_close(ran(family, observe=later.observe, start=start), whole)
        # Blocks before it are not run.
        assert [seen.layer for seen in later["z"]] == list(range(layer, LAYERS))
        seen = [each.position for each in later["residual"]]
        assert seen == list(range(at.position, len(positions(model))))


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "gpt_neox"])
@pytest.mark.parametrize("layer", [0, 1])
def test_gradients(family, layer):
    """With respect to the start and to every z, of the last state and of a pattern."""
    hf, weights = hf_model(family), drawn(SEQUENCES, T, WIDTH)
    state, of_pattern = drawn(SEQUENCES, T, WIDTH, seed=1), drawn(SEQUENCES, 4, T, T, seed=2)

    def gradients(begin, last, z, patterns):
        of_last = torch.autograd.grad((last * weights).sum(), [begin, *z], retain_graph=True)
        return *of_last, *torch.autograd.grad((patterns[-1] * of_pattern).sum(), [begin])

    watched, begin = Watched("z", "pattern"), state.clone().requires_grad_()
    last = ran(family, observe=watched.observe, start=Start(layer, begin))
    z, patterns = ([seen.value for seen in watched[kind]] for kind in ("z", "pattern"))
    found = gradients(begin, last, z, patterns)

    begin, seen = state.clone().requires_grad_(), {}

    def see(at, attended):
        seen[at] = attended
        return attended.z

    first = raw.hooks(raw.edited_input(raw.blocks(hf)[layer], lambda _: begin))
    with first, plain.uncast(), plain._exact(hf), raw.attending(hf, see):
        last = hf.base_model(TOKENS, use_cache=False).last_hidden_state
    later = [seen[at] for at in range(layer, LAYERS)]
    expected = gradients(begin, last, [a.z for a in later], [a.pattern for a in later])
    assert len(found) == len(expected) == LAYERS - layer + 2
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            other = other.transpose(1, 2).flatten(0, 1)
        assert_close(one, other)


# edits ---------------------------------------------------------------------------------------


def edge(sender, layer, heads, through, seed, sequences=SEQUENCES, tokens=T):
    return PatchEdge(sender, layer, heads, through, drawn(sequences, tokens, D_HEAD, seed=seed))


def cases(family):
    """Edits by name."""
    pair = [2, 3]  # share their keys in families that do
    heads = ReplaceHeads(1, [3, 0], drawn(SEQUENCES, T, 2, D_HEAD))
    neurons = ReplaceNeurons(1, [7, 0, 40], drawn(1, T, 3))
    return {
        "zeros": [ReplaceHeads(1, [1], torch.zeros(1, 1, 1, D_HEAD))],
        "means": [ReplaceHeads(0, [3, 1], drawn(1, T, 2, D_HEAD))],
        "each sequence": [heads],
        "whole layer": [ReplaceHeads(1, range(4), drawn(SEQUENCES, 1, 4, D_HEAD))],
        "neurons": [neurons],
        "some tokens": [
            ReplaceHeads(0, [1, 2], drawn(SEQUENCES, T, 2, D_HEAD), [0, 3]),
            ReplaceHeads(0, [1], drawn(1, 1, 1, D_HEAD, seed=1), [5]),
            ReplaceNeurons(1, [7, 0, 40], drawn(1, T, 3), [T - 1, 2]),
            ReplaceOutput(1, "attention", drawn(1, T, WIDTH), [4]),
            ReplaceOutput(2, "mlp", drawn(SEQUENCES, 1, WIDTH), [1, 6]),
        ],
        "attention": [ReplaceOutput(1, "attention", drawn(1, T, WIDTH))],
        "mlp": [ReplaceOutput(1, "mlp", drawn(SEQUENCES, 1, WIDTH))],
        "queries": [edge((0, 1), 1, [2], "queries", 1)],
        "keys": [edge((0, 2), 2, pair, "keys", 2, sequences=1)],
        "values": [edge((1, 0), 2, pair, "values", 3, tokens=1)],
        "several edges": [
            edge((0, 1), 1, [0, 3], "queries", 4),
            edge((0, 1), 1, pair, "keys", 5),
            edge((0, 3), 2, [1], "queries", 6),
            edge((1, 2), 2, pair, "values", 7),
            edge((1, 2), 2, pair, "keys", 8),
        ],
        "all kinds": [
            ReplaceHeads(0, [0, 1], drawn(1, T, 2, D_HEAD)),
            edge((0, 1), 2, pair, "keys", 9),
            heads,
            neurons,
            ReplaceOutput(0, "mlp", drawn(1, T, WIDTH)),
        ],
        "senders together": [
            edge((0, 1), 2, pair, "keys", 10),
            edge((0, 2), 2, range(4), "keys", 11),
            edge((1, 2), 2, pair, "keys", 12),
            edge((1, 3), 2, [1, 2], "queries", 13),
            edge((0, 1), 2, [2, 3], "queries", 14),
        ],
    }


EDITS = [(family, name) for family in ("gpt2", "gemma3") for name in cases(family)] + [
    (family, name)
    for family in set(FAMILIES) - {"gpt2", "gemma3"}
    for name in ("each sequence", "some tokens", "several edges", "all kinds", "senders together")
]


def done_to(hf, edits):
    """The same edits as hooks."""
    contexts = {
        ReplaceHeads: lambda e: raw.heads_replaced(hf, e.layer, e.heads, e.by, e.tokens),
        ReplaceNeurons: lambda e: raw.neurons_replaced(hf, e.layer, e.neurons, e.by, e.tokens),
        ReplaceOutput: lambda e: raw.output_replaced(hf, e.layer, e.sublayer, e.by, e.tokens),
    }
    edges = [e for e in edits if isinstance(e, PatchEdge)]
    return raw.all_of(
        *(contexts[type(e)](e) for e in edits if not isinstance(e, PatchEdge)),
        raw.edges_patched(hf, *((e.sender, e.layer, e.heads, e.through, e.by) for e in edges)),
    )


@pytest.mark.parametrize(("family", "name"), sorted(EDITS))
def test_edited_values(family, name):
    hf, edits = hf_model(family), cases(family)[name]
    found = ran(family, edits=edits)
    with done_to(hf, edits):
        expected = last_state(hf)
    assert_close(found, expected)
    assert float((found - whole_state(family)).abs().max()) > 1e-3


# changes -------------------------------------------------------------------------------------

EPSILONS = [0.05, 1.0]
CHANGED = [
    ("gpt2", "all kinds"),
    ("gpt2", "attention"),
    ("gpt2", "some tokens"),
    ("gemma3", "some tokens"),
    ("llama", "senders together"),
    ("gemma3", "all kinds"),
    ("gpt_neox", "all kinds"),
    ("phi3", "several edges"),
    ("olmo2", "senders together"),
    ("granite", "all kinds"),
]


def carried(family, edits):
    """Changes at every position (position, strength, sequence, source, target, d_model).

    At both strengths, and in the limit.
    """
    model, shape = bridge(family), (SEQUENCES, T, T, WIDTH)
    n_positions = len(positions(model))
    finite, limit = torch.zeros(n_positions, 2, *shape), torch.zeros(n_positions, 1, *shape)
    found = [finite.double(), limit.double()]

    def residual(seen):
        at = seen.index
        found[0][seen.position, at.strength, at.sequence, at.source, at.target] = seen.change

    observe, chunks = {"residual": residual}, [EPSILONS, None]
    with plain.uncast():
        for _ in chunked_inner_products(TOKENS, model, chunks, observe=observe, edits=edits):
            found.reverse()
    return found


def responses(hf):
    """The same as differences of runs with hooks, and as a derivative."""
    finite = [plain.plain_streams(hf, TOKENS, [epsilon]).change for epsilon in EPSILONS]
    return torch.cat(finite, dim=1), plain.plain_limit(hf, TOKENS).change


def assert_same_changes(family, edits, hooked):
    for found, expected in zip(carried(family, edits), responses(hooked), strict=True):
        largest = expected.norm(dim=-1).amax(-1)
        assert float(largest.min()) > 0
        error = (found - expected).norm(dim=-1).amax(-1) / largest
        # A difference of runs rounds at 1e-16 / epsilon.
        assert float(error.max()) < 1e-11


@pytest.mark.parametrize(("family", "name"), CHANGED)
def test_edited_changes(family, name):
    hf, edits = hf_model(family), cases(family)[name]
    with done_to(hf, edits):
        assert_same_changes(family, edits, hf)


FROZEN = [
    FreezeHeads(1, [0, 3, 2], "pattern"),
    FreezeHeads(1, [0, 1], "values"),
    FreezeHeads(2, [1], "values"),
]


@pytest.mark.parametrize(("family", "name"), [("gpt2", None), ("gemma3", None), ("llama", "keys")])
def test_frozen_heads(family, name):
    """Where the pattern, or the values, of a head are those of the clean run, edited or not."""
    hf, edits = hf_model(family), [] if name is None else cases(family)[name]
    with done_to(hf, edits):
        with plain.uncast(), plain._exact(hf), torch.no_grad():
            clean = raw.attended(hf, TOKENS)
        with raw.heads_frozen(hf, clean, FROZEN):
            assert_same_changes(family, [*edits, *FROZEN], hf)


def test_all_frozen():
    """With values and patterns of all heads frozen nothing passes from token to token."""
    kinds = ("pattern", "values")
    edits = [FreezeHeads(layer, range(4), what) for layer in range(LAYERS) for what in kinds]
    for found in carried("llama", edits):
        i, j = torch.triu_indices(T, T, offset=1)
        assert float(found[..., i, j, :].abs().max()) == 0
        assert float(found[-1].diagonal(dim1=-3, dim2=-2).abs().min()) > 0
    assert torch.equal(ran("llama", edits=edits), ran("llama"))


# what is refused -----------------------------------------------------------------------------

ONE = torch.zeros(1, 1, 1, D_HEAD)
SENT = torch.zeros(1, 1, D_HEAD)
REFUSED = {
    "closed": ("gpt_neo", ReplaceHeads(0, [0], ONE), "code of its own"),
    "layer": ("llama", ReplaceHeads(3, [0], ONE), "layer 3 is not one of 0 .. 2"),
    "layer below": ("llama", FreezeHeads(-1, [0], "pattern"), "layer -1 is not one of 0 .. 2"),
    "sender's layer": (
        "llama",
        PatchEdge((7, 0), 1, [0], "queries", SENT),
        "layer 7 is not one of 0 .. 2",
    ),
    "no neurons": ("qwen3_moe", ReplaceNeurons(0, [0], torch.zeros(1, 1, 1)), "no neurons"),
    "neuron": (
        "llama",
        ReplaceNeurons(0, [48], torch.zeros(1, 1, 1)),
        "neuron 48 is not one of 0 .. 47",
    ),
    "shape of neurons": (
        "llama",
        ReplaceNeurons(0, [4, 5], torch.zeros(1, 1, 1)),
        "(2 or 1, 8 or 1, 2)",
    ),
    "sublayer": (
        "opt",
        ReplaceOutput(0, "mlp", torch.zeros(1, 1, WIDTH)),
        "choose from attention",
    ),
    "name of a sublayer": (
        "llama",
        ReplaceOutput(0, "attn", torch.zeros(1, 1, WIDTH)),
        "choose from attention, mlp",
    ),
    "shape of an output": (
        "llama",
        ReplaceOutput(0, "mlp", torch.zeros(1, 1, 5)),
        "(2 or 1, 8 or 1, 32)",
    ),
    "head": ("llama", ReplaceHeads(0, [4], ONE), "head 4 is not one of 0 .. 3"),
    "token": ("llama", ReplaceHeads(0, [0], ONE, [8]), "token 8 is not one of 0 .. 7"),
    "shape of heads": (
        "llama",
        ReplaceHeads(0, [0, 1], ONE),
        "(2 or 1, 8 or 1, 2, 8)",
    ),
    "too many sequences": (
        "llama",
        ReplaceHeads(0, [0], ONE.expand(3, 8, 1, 8)),
        "(2 or 1, 8 or 1",
    ),
    "too few tokens": ("llama", ReplaceHeads(0, [0], ONE.expand(2, 7, 1, 8)), "(2 or 1, 8 or 1"),
    "what": ("llama", FreezeHeads(0, [0], "queries"), "choose from pattern, values"),
    "sender's head": (
        "llama",
        PatchEdge((0, -1), 1, [0], "queries", SENT),
        "sender's head -1 is not one of 0 .. 3",
    ),
    "shape of the sender": (
        "llama",
        PatchEdge((0, 0), 1, [0], "queries", ONE),
        "(2 or 1, 8 or 1, 8)",
    ),
    "through": (
        "llama",
        PatchEdge((0, 0), 1, [0], "outputs", SENT),
        "choose from queries, keys, values",
    ),
    "receiver": ("llama", PatchEdge((0, 0), 1, [4], "queries", SENT), "head 4 is not one of 0"),
    "order": ("llama", PatchEdge((1, 0), 1, [0], "queries", SENT), "come after their sender"),
    "shared": ("llama", PatchEdge((0, 0), 1, [2], "keys", SENT), "give all of [2, 3]"),
}


@pytest.mark.parametrize(("family", "edit", "says"), REFUSED.values(), ids=REFUSED)
def test_refused(family, edit, says):
    model = bridge(family)
    passes = (
        lambda: forward(TOKENS, model, edits=[edit]),
        lambda: inner_products(TOKENS, model, [0.1], edits=[edit]),
    )
    for run in passes:
        with pytest.raises(ValueError, match=re.escape(says)) as refused:
            run()
        assert "\n" not in str(refused.value)


def test_refused_starts():
    with pytest.raises(ValueError, match=r"^start: layer 3 is not one of 0 \.\. 2$"):
        ran("llama", start=Start(3, torch.zeros(SEQUENCES, T, WIDTH)))
    with pytest.raises(ValueError, match=r"^start: .* begin at its input$"):
        ran("gpt_neo", start=Start(1, torch.zeros(SEQUENCES, T, WIDTH)))
    sender = [PatchEdge((0, 0), 2, [0], "queries", SENT)]
    with pytest.raises(ValueError, match=r"^start: "):
        ran("llama", start=Start(1, torch.zeros(SEQUENCES, T, WIDTH)), edits=sender)
    with pytest.raises(ValueError, match=r"perturbed_position=1: .* use perturbed_position=0$"):
        inner_products(
            TOKENS, bridge("llama"), [0.1], perturbed_position=1, edits=cases("llama")["zeros"]
        )


class Stop(Exception):
    pass


def stop(seen):
    raise Stop


@pytest.mark.parametrize(("family", "kind"), [("gpt2", "neurons"), ("gemma3", "pattern")])
def test_the_model_is_given_back(family, kind):
    """Whatever happens, and with every kind of edit."""
    model = bridged(tiny_hf_model(family))
    edits, inner = cases(family)["all kinds"], model.original_model
    before = model(TOKENS)

    def state():
        return [
            (name, type(m), "forward" in vars(m), len(m._forward_hooks), len(m._forward_pre_hooks))
            for name, m in inner.named_modules()
        ], inner.config._attn_implementation

    untouched = state()
    for run in (
        lambda: forward(TOKENS, model, edits=edits, observe={kind: stop}),
        lambda: inner_products(TOKENS, model, [0.1], edits=edits, observe={kind: stop}),
    ):
        with pytest.raises(Stop):
            run()
        assert state() == untouched
    with pytest.raises(ValueError, match="head 9"):
        forward(TOKENS, model, edits=[ReplaceHeads(0, [9], ONE)])
    forward(TOKENS, model, edits=edits)
    assert state() == untouched
    assert torch.equal(model(TOKENS), before)


# what attention reads ------------------------------------------------------------------------


def test_read(family):
    """Queries, keys and values of any states at any places are those of the model's own pass."""
    hf, model = hf_model(family), bridge(family)
    shared = slice(None, None, raw.sizes(hf)[0] // raw.sizes(hf)[1])
    with plain.uncast(), plain._exact(hf), torch.no_grad():
        attended = raw.attended(hf, TOKENS)
        states = hf.base_model(TOKENS, use_cache=False, output_hidden_states=True).hidden_states
    places = torch.tensor([T - 1, 0, 3, 3])
    for layer in range(LAYERS):
        with plain.uncast():
            found = read(model, layer, states[layer][1, places], places)
        seen = attended[layer]
        expected = (seen.queries, seen.keys[:, shared], seen.values[:, shared])
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other[1][:, places].transpose(0, 1))


def test_attention_that_cannot_be_read():
    with pytest.raises(ValueError, match=r"^model: runs attention by code of its own"):
        read(bridge("gptj"), 0, torch.zeros(1, WIDTH), torch.zeros(1, dtype=torch.long))


# norms ---------------------------------------------------------------------------------------


def norms(family):
    """One of every kind that a model has."""
    hf = hf_model(family)
    inside = raw.attention(hf, 0)
    found = [raw.norm(hf, 1), raw.norm_after(hf, 1, "attention"), raw.final_norm(hf)]
    return [each for each in (*found, getattr(inside, "q_norm", None)) if each is not None]


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3", "cohere", "olmo2"])
def test_norms_by_parts(family):
    """Parts of a vector make its norm, and parts of a change the change of its norm."""
    for module in norms(family):
        shape = next(module.parameters()).shape
        x, *parts = drawn(4, 5, *shape, seed=3)
        parts = torch.stack(parts)
        norm = recognised(module, shape[-1])
        assert norm is not None

        def run(state, module=module):
            with plain.uncast():
                return module(state)

        with torch.no_grad():
            whole = run(parts.sum(0))
            assert_close(sum(norm.fixed(parts.sum(0), each) for each in parts) + norm.bias, whole)
            if len(shape) > 1:
                continue
            for strength in (1e-6, 0.3, 2.0):
                d = strength * parts
                found = norm.secant(x, d.sum(0), d.transpose(0, 1), limit=False).sum(1)
                # A difference rounds at 1e-16 / strength.
                assert_close(found, run(x + d.sum(0)) - run(x), within=1e-14 / strength)
            found = norm.secant(x, parts.sum(0), parts.transpose(0, 1), limit=True).sum(1)
            assert_close(found, torch.func.jvp(run, (x,), (parts.sum(0),))[1])
