"""Other first changes, further on in the model, of some sources, and what may be watched."""

import warnings
from functools import cache

import numpy as np
import plain
import pytest
import torch
from tiny_models import VOCABULARY, bridged, random_tokens, tiny_hf_model, tiny_model
from transformer_lens.tools.analysis import JacobianLens
from universal_response import (
    Direction,
    RandomDirection,
    Scaling,
    Swap,
    inner_products,
    linear_inner_products,
)
from universal_response.propagation import chunked_inner_products

T = 6  # longer than the sliding windows
EPSILONS = [1e-3, 0.3, 1.0]
# Both norms, a window with norms after sublayers, parallel blocks, attention of its own, experts.
FAMILIES = ("gpt2", "gemma3", "gpt_neox", "gptj", "falcon", "qwen3_moe")
TOKEN = 17
RESPONSES = ("response_response", "response_state", "response_source", "response_perturbation",
             "perpendicular")  # fmt: skip
VECTOR = torch.linspace(-1, 2, 32, dtype=torch.float64).cos()


class Steered:
    """A perturbation of a user's own: towards the mirrored vector."""

    name = "mirrored"

    def direction(self, states, replaced):
        return states.flip(-1)


def along(x, vector):
    unit = torch.from_numpy(vector / np.linalg.norm(vector)).to(x)
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True) * unit


# Of each perturbation the same direction as a function of the clean states at the source.
PERTURBATIONS = {
    "scaling": (Scaling(), torch.neg),
    "direction": (
        Direction(VECTOR),
        lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True) * VECTOR / VECTOR.norm(),
    ),
    "random direction": (
        RandomDirection(5),
        lambda x: along(x, np.random.default_rng(5).standard_normal(x.shape[-1])),
    ),
    "mirrored": (Steered(), lambda x: x.flip(-1)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def models(family):
    return tiny_model(family, torch.float64), tiny_hf_model(family, torch.float64)


@pytest.fixture(autouse=True)
def _experts_may_warn():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="model: module .* without a rule")
        yield


def assert_equal(found, expected, position):
    """Each product relative to the largest over targets, as far as the plain loop knows it."""
    products = plain.inner_products(expected)
    made = expected.change[position]
    made = torch.stack([made[..., i, i, :] for i in range(made.shape[2])], dim=2)[..., None, :]
    products["response_perturbation"] = (expected.change * made).sum(-1)
    scale = products["response_response"].amax(-1, keepdim=True)
    for name in RESPONSES:
        a, b = getattr(found, name), products[name]
        assert (a[:position] == 0).all(), name
        largest = b.abs().amax(-1, keepdim=True).clamp(min=1e-16 * scale)
        error = torch.where(largest > 0, (a - b).abs() / largest, (a != 0).double())
        # The plain loop rounds at 1e-16 / epsilon, as in test_propagation. Promised are 1e-6.
        assert error.max() < 1e-8, name


class OneASequence:
    """Each of them in a sequence of its own."""

    name = "one a sequence"

    def direction(self, states, replaced):
        each = zip(PERTURBATIONS.values(), states.chunk(len(PERTURBATIONS)), strict=True)
        return torch.cat(
            [perturbation.direction(some, replaced) for (perturbation, _), some in each]
        )

    @staticmethod
    def by_hand(states):
        each = zip(PERTURBATIONS.values(), states, strict=True)
        return torch.stack([direction(state) for (_, direction), state in each])


@pytest.mark.parametrize("where", ["input", "first", "second", "inner", "last but one", "last"])
def test_any_first_change_at_any_position(models, where):
    model, hf = models
    last = len(plain.sublayers(hf)) - 1
    places = {"input": 0, "first": 1, "second": 2, "last but one": last - 1, "last": last}
    position = places.get(where, last // 2 + 1)
    tokens = random_tokens(len(PERTURBATIONS), T)
    with plain.uncast():
        at = {"perturbation": OneASequence(), "perturbed_position": position}
        finite, limit = chunked_inner_products(tokens, model, [EPSILONS, None], **at)
    made = OneASequence.by_hand, position
    assert_equal(finite, plain.plain_streams(hf, tokens, EPSILONS, *made), position)
    assert_equal(limit, plain.plain_limit(hf, tokens, *made), position)


def test_another_token(models):
    """At full strength the response to a swap is what the changed sequence differs by."""
    model, hf = models
    tokens = random_tokens(2, T)
    with plain.uncast():
        found = inner_products(tokens, model, [0.25, 1.0], perturbation=Swap(TOKEN))
    states = plain.plain_streams(hf, tokens, [0.0]).clean
    changes = []
    for source in range(T):
        swapped = tokens.clone()
        swapped[:, source] = TOKEN
        changes.append(plain.plain_streams(hf, swapped, [0.0]).clean - states)
    whole = plain.Responses(states, torch.stack(changes, dim=2)[:, None])
    at_full = {name: getattr(found, name)[:, 1:] for name in RESPONSES}
    assert_equal(type("Full", (), at_full), whole, 0)

    directions = iter(whole.change[0, 0].diagonal(dim1=1, dim2=2).permute(2, 0, 1))
    expected = plain.plain_streams(hf, tokens, [0.25], lambda x: next(directions))
    quarter = {name: getattr(found, name)[:, :1] for name in RESPONSES}
    assert_equal(type("Quarter", (), quarter), plain.Responses(states, expected.change[:, :1]), 0)


def test_a_token_swapped_for_itself_changes_nothing(models):
    model, _ = models
    tokens = torch.full((1, T), TOKEN)
    found = inner_products(tokens, model, [1.0], perturbation=Swap(TOKEN))
    assert found.response_response.max() < 1e-25  # rounding of experts' states


def test_names_of_perturbations():
    named = [
        Scaling(), Direction(VECTOR), Direction(VECTOR, "happier"), RandomDirection(), Swap(TOKEN)
    ]  # fmt: skip
    names = ["scaling", "direction", "happier", "random direction", "swap"]
    assert [each.name for each in named] == names


@pytest.mark.parametrize("position", range(7))
def test_earlier_layers_are_not_run_again(gpt2, position):
    calls = []
    handles = []
    for layer in range(3):
        inner = gpt2.blocks[layer].original_component
        for name, module in (("attention", inner.attn), ("mlp", inner.mlp)):
            module = getattr(module, "original_component", module)
            handles.append(
                module.register_forward_hook(
                    lambda *_, at=(layer, name): calls.append(at), always_call=True
                )
            )
    chunks = {"tokens_per_pass": 10**6, "perturbed_position": position}
    try:
        inner_products(random_tokens(1, T), gpt2, [0.1], **chunks)
    finally:
        for handle in handles:
            handle.remove()
    every = [(layer, name) for layer in range(3) for name in ("attention", "mlp")]
    clean, changed = calls[:6], calls[6:]
    assert clean == every
    # A block is run as a whole, also where the change is made inside or at the end of the last.
    assert changed == every[2 * min(position // 2, 2) :]


@pytest.mark.parametrize("position", [-1, 7])
def test_positions_that_are_not_there_are_named(gpt2, position):
    with pytest.raises(ValueError, match=r"\Aperturbed_position=[^\n]*0 .. 6[^\n]*\Z"):
        inner_products(random_tokens(1, T), gpt2, [0.1], perturbed_position=position)


@pytest.mark.parametrize("token", [-1, VOCABULARY])
def test_tokens_that_are_not_there_are_named(gpt2, token):
    with pytest.raises(ValueError, match=r"\Aperturbation: [^\n]*token[^\n]*\Z"):
        inner_products(random_tokens(1, T), gpt2, [0.1], perturbation=Swap(token))


def test_a_swap_is_made_at_the_input_only(gpt2):
    with pytest.raises(ValueError, match=r"\Aperturbation: [^\n]*input[^\n]*\Z"):
        inner_products(
            random_tokens(1, T), gpt2, [0.1], perturbation=Swap(TOKEN), perturbed_position=2
        )


@pytest.mark.parametrize("vector", [torch.zeros(32), torch.ones(31), torch.full((32,), torch.nan)])
def test_directions_that_lead_nowhere_are_named(gpt2, vector):
    with pytest.raises(ValueError, match=r"\Aperturbation: [^\n]*\Z"):
        inner_products(random_tokens(1, T), gpt2, [0.1], perturbation=Direction(vector))


# sources ------------------------------------------------------------------------------------------


@cache
def rows_of_all(name):
    """A model, tokens, and what all sources give at finite strengths and in the limit."""
    model, tokens = tiny_model(name, torch.float64), random_tokens(3, T)
    with plain.uncast():
        every = inner_products(tokens, model, EPSILONS), linear_inner_products(tokens, model)
    return model, tokens, every


@pytest.mark.parametrize("name", ["gemma3", "gptj"])
@pytest.mark.parametrize("tokens_per_pass", [None, 1, 30])
def test_some_sources_are_rows_of_all(name, tokens_per_pass):
    model, tokens, of_all = rows_of_all(name)
    sources = torch.tensor([[3, 0], [5, 3], [1, 4]])
    with plain.uncast():
        for every, measure in zip(
            of_all,
            (
                lambda **some: inner_products(tokens, model, EPSILONS, **some),
                lambda **some: linear_inner_products(tokens, model, **some),
            ),
            strict=True,
        ):
            passed = []
            some = measure(sources=sources, tokens_per_pass=tokens_per_pass, progress=passed.append)
            strengths = some.response_response.shape[1]
            assert sum(passed) == strengths * int((T - sources).sum())
            assert torch.equal(some.sources, sources)
            assert torch.equal(every.sources, torch.arange(T).expand(3, T))
            torch.testing.assert_close(some.state_state, every.state_state, rtol=1e-14, atol=0)
            for product in RESPONSES:
                expected = torch.stack(
                    [getattr(every, product)[:, :, s, row] for s, row in enumerate(sources)], dim=2
                )
                torch.testing.assert_close(
                    getattr(some, product), expected, rtol=1e-9, atol=1e-14, msg=product
                )


@pytest.mark.parametrize(
    "sources",
    [
        [0, 1],
        [[0, 1]],
        [[0, 1], [2, 2]],
        [[0, 1], [2, T]],
        [[0, 1], [2, -1]],
        [[], []],
    ],
    ids=["flat", "one sequence", "twice", "beyond", "negative", "none"],
)
def test_bad_sources_are_named(gpt2, sources):
    with pytest.raises(ValueError, match=r"\Asources: [^\n]*\Z"):
        inner_products(
            random_tokens(2, T), gpt2, [0.1], sources=torch.tensor(sources, dtype=torch.long)
        )


# against the Jacobian lens of TransformerLens -----------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("layer", [0, 1])
def test_summed_and_averaged_it_is_the_jacobian_lens(name, layer, monkeypatch):
    """J v = mean over sources of the sum over targets of the change seeded with v.

    The lens leaves out the first tokens as it is told, and the last one.
    """
    skipped, t = 2, 9
    model, tokens = bridged(tiny_hf_model(name)), random_tokens(1, t)
    monkeypatch.setattr(type(model), "to_tokens", lambda self, prompt: tokens)
    lens = JacobianLens.fit(
        model, ["a prompt"], corpus="made up", source_layers=[layer],
        skip_first_positions=skipped, show_progress=False,
    )  # fmt: skip
    each = 1 if name == "gpt_neox" else 2
    start, last = each * (layer + 1), each * 3
    used = torch.arange(skipped, t - 1)
    generator = torch.Generator().manual_seed(1)
    for vector in torch.randn((2, 32), generator=generator):
        found = torch.zeros(32)

        def add(seen, found=found):
            if seen.position == last:
                among = seen.index.target < t - 1
                found += seen.change[among].sum(0) / len(used)

        class Seeded:
            name = "seeded"

            def direction(self, states, replaced, vector=vector):
                return vector.to(states).expand_as(states)

        linear_inner_products(
            tokens, model, perturbation=Seeded(), perturbed_position=start,
            sources=used[None], observe={"residual": add},
        )  # fmt: skip
        expected = lens.jacobians[layer] @ vector
        # Float32 on both sides, sums of some twenty vectors.
        torch.testing.assert_close(found, expected, rtol=0, atol=3e-6 * float(expected.norm()))
