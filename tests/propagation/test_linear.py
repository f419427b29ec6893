"""The limit epsilon -> 0: against finite strengths, an independent derivative, and exact knowns."""

from types import SimpleNamespace

import numpy as np
import plain
import pytest
import torch
from tiny_models import (
    ARCHITECTURES,
    random_tokens,
    residual_streams,
    tiny_hf_model,
    tiny_model,
)
from torch.autograd.functional import jvp
from universal_response import (
    Settings,
    inner_products,
    load_model,
    measure,
    response,
)
from universal_response.metrics import LINEAR_METRICS, METRICS
from universal_response.propagation import linear_inner_products

T = 8  # longer than the sliding window of the Gemma models
STRENGTHS = [10**-1.5, 1e-2, 10**-2.5, 1e-3]
# These round in double precision where the response passes. Norms of the others compute in single
# precision inside: an error of about 1e-8, or 1e-4 of the response to the weakest strength.
DOUBLE = ("gpt2", "gpt_neox")
RESPONSES = (
    *("response_response", "response_state", "response_source", "response_perturbation"),
    "perpendicular",
)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def limit(request):
    """A model in float64, its tokens, its linear inner products and their metrics."""
    model, tokens = tiny_model(request.param, torch.float64), random_tokens(2, T)
    products = linear_inner_products(tokens, model)
    metrics = {name: metric(products)[:, 0] for name, metric in LINEAR_METRICS.items()}
    return SimpleNamespace(
        architecture=request.param, model=model, tokens=tokens, products=products, metrics=metrics
    )


# against finite strengths ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["engine", "plain"])
def finite(request, limit):
    """The metrics at finite strengths, by suffix passes or by full passes of the plain loop."""
    if request.param == "plain":
        return plain.metrics(plain.streams(limit.model, limit.tokens, STRENGTHS))
    products = inner_products(limit.tokens, limit.model, STRENGTHS)
    return {name: metric(products) for name, metric in METRICS.items()}


def deviations(finite, limit, metric):
    """|C / epsilon^power - linear| wherever C_delta > 1e-5 at every strength, (epsilon, entry).

    In units of the linear delta; for phi of half its square, the phi of a response perpendicular to
    x; for the cosines of 1.
    """
    power = response.POWER[metric]
    size = limit.metrics["delta"]
    unit = (torch.ones_like(size), size, size**2 / 2)[power]
    chosen = finite["delta"][:, -1] > 1e-5
    assert chosen.double().mean() > 0.25  # a little more than half of the entries are causal
    each = [
        (finite[metric][:, k] / epsilon**power - limit.metrics[metric]) / unit
        for k, epsilon in enumerate(STRENGTHS)
    ]
    return torch.stack([deviation[chosen].abs() for deviation in each])


@pytest.mark.parametrize("metric", METRICS)
def test_weak_perturbations_reach_the_limit_within_one_percent(finite, limit, metric):
    assert deviations(finite, limit, metric)[-1].max() < 0.01


@pytest.mark.parametrize("metric", METRICS)
def test_the_limit_is_approached_in_proportion_to_epsilon(finite, limit, metric):
    # The rounding that the others have flattens their curves towards the weak end.
    double = limit.architecture in DOUBLE
    used, allowed = (slice(None), 0.02) if double else (slice(3), 0.15)
    found = deviations(finite, limit, metric).mean(1)[used]
    slope = np.polyfit(np.log(STRENGTHS[used]), np.log(found), 1)[0]
    assert slope == pytest.approx(1, abs=allowed)


# against another way to differentiate ------------------------------------------------------------


@pytest.fixture(scope="module")
def derivative(limit):
    """d x'_j / d epsilon of transformers' own full pass, by reverse-mode differentiation twice.

    Neither the bridge, nor a cache, nor forward-mode differentiation takes part.
    """
    model = tiny_hf_model(limit.architecture, torch.float64)
    model.set_attn_implementation("eager")  # the fused kernel cannot be differentiated twice

    def streams(epsilons):
        return residual_streams(model, limit.tokens, 1 - epsilons)

    strengths = torch.zeros(T, dtype=torch.float64)
    each = [jvp(streams, strengths, unit) for unit in torch.eye(T, dtype=torch.float64)]
    tangents = torch.stack([tangent for _, tangent in each], dim=2)
    return SimpleNamespace(clean=each[0][0], change=tangents[:, None])


def test_inner_products_equal_those_of_an_independent_derivative(limit, derivative):
    # Rotary embeddings and norms of the others compute in single precision inside.
    tolerance = 1e-12 if limit.architecture == "gpt2" else 1e-6
    for name, expected in plain.inner_products(derivative).items():
        scale = expected.abs().flatten(1).amax(1).clamp(min=1e-30)
        found = getattr(limit.products, name)
        assert found.shape == expected.shape
        error = (found - expected).abs().flatten(1).amax(1) / scale
        assert error.max() < tolerance, name


def test_metrics_equal_those_of_an_independent_derivative(limit, derivative):
    x, d = derivative.clean[:, None, :, None], derivative.change
    length = torch.linalg.vector_norm
    direction = x / length(x, dim=-1, keepdim=True)
    perpendicular = d - (d * direction).sum(-1, keepdim=True) * direction
    at_source = torch.stack([d[..., i, i, :] for i in range(T)], dim=3)[..., None, :]
    expected = {
        "delta": length(d, dim=-1) / length(x, dim=-1),
        "phi": length(perpendicular, dim=-1) ** 2 / (2 * length(x, dim=-1) ** 2),
        "theta_source": plain.cosine(d, at_source),
        "theta_state": plain.cosine(d, x.expand_as(d)),
        "theta_perturbation": plain.cosine(d, at_source[:1]),
    }
    assert set(expected) == set(LINEAR_METRICS)
    clear = expected["delta"] > 1e-3
    later = clear.clone()
    later.diagonal(dim1=-2, dim2=-1).fill_(False)
    assert later.double().mean() > 0.2
    for name, values in expected.items():
        torch.testing.assert_close(
            limit.metrics[name][:, None][clear], values[clear], rtol=1e-4, atol=1e-5, msg=name
        )


# exact knowns ------------------------------------------------------------------------------------


def test_at_the_input_the_response_is_the_perturbation(limit):
    """D_i = -x_i per unit of epsilon, and nothing at any other token."""
    unit = torch.eye(T, dtype=torch.float64).expand(2, T, T)
    at_input = {name: matrix[0] for name, matrix in limit.metrics.items()}
    torch.testing.assert_close(at_input["delta"], unit, rtol=1e-14, atol=0)
    torch.testing.assert_close(at_input["theta_state"], -unit, rtol=1e-14, atol=0)
    torch.testing.assert_close(at_input["theta_perturbation"], unit, rtol=1e-14, atol=0)
    # A vector that is only scaled does not turn.
    assert at_input["phi"].max() < 1e-15
    assert (at_input["phi"][unit == 0] == 0).all()


def test_the_source_is_parallel_to_itself(limit):
    found = limit.metrics["theta_source"].diagonal(dim1=-2, dim2=-1)
    responds = limit.metrics["delta"].diagonal(dim1=-2, dim2=-1) > 0
    assert responds.double().mean() > 0.99
    torch.testing.assert_close(found[responds], torch.ones_like(found[responds]))


def test_left_of_the_source_nothing_changes(limit):
    left = torch.ones(T, T, dtype=torch.bool).tril(-1)
    for name in RESPONSES:
        assert (getattr(limit.products, name)[..., left] == 0).all(), name
    for name, matrix in limit.metrics.items():
        assert (matrix[..., left] == 0).all(), name
    assert (limit.metrics["delta"][-1][..., ~left] > 0).all()


def test_threefold_change_gives_threefold_response(gpt2):
    class Threefold:
        name = "three times the scaling"

        def direction(self, states, replaced):
            return -3 * states

    tokens = random_tokens(2, T)
    once = linear_inner_products(tokens, gpt2)
    thrice = linear_inner_products(tokens, gpt2, perturbation=Threefold())
    for name, metric in LINEAR_METRICS.items():
        expected = 3 ** response.POWER[name] * metric(once)
        torch.testing.assert_close(metric(thrice), expected, rtol=1e-9, atol=1e-12, msg=name)


# what it promises about its work -----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3"])
def test_sequences_do_not_influence_each_other(architecture):
    model, tokens = tiny_model(architecture, torch.float64), random_tokens(3, T)
    together, alone = (linear_inner_products(some, model) for some in (tokens, tokens[1:2]))
    for name in RESPONSES:
        torch.testing.assert_close(getattr(alone, name)[:, :, 0], getattr(together, name)[:, :, 1])


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute"),
    [(torch.float32, 1e-4, 1e-4), (torch.bfloat16, 0.2, 0.05)],
)
def test_lower_precision_gives_the_same_to_what_it_holds(dtype, relative, absolute):
    tokens, upper = random_tokens(1, 6), torch.triu_indices(6, 6)
    exact, low = (
        linear_inner_products(tokens, tiny_model("llama", kind)) for kind in (torch.float64, dtype)
    )
    for name in ("state_state", *RESPONSES):
        assert getattr(low, name).dtype == torch.float32
    a, b = (METRICS["delta"](found)[-1, 0, 0, *upper].float() for found in (low, exact))
    torch.testing.assert_close(a, b, rtol=relative, atol=absolute)


@pytest.mark.slow
@pytest.mark.weights
def test_pretrained_model_reaches_the_limit():
    """C_delta(epsilon, dj) / (epsilon linear(dj)) at l = 2L, averaged over dj."""
    model = load_model("smollm2-135m", dtype="float32", device="cpu", tokenizer=False)
    settings = Settings(t0=16, batch=2, epsilons=(0.003,), epsilon0=0.003)
    found = measure(model, settings)
    at = {"metric": "delta", "position": response.last(found)}
    ratio = found.response.sel(at | {"epsilon": 0.003}) / (0.003 * found.linear.sel(at))
    assert float(ratio.mean("delta_j")) == pytest.approx(1, abs=0.01)
