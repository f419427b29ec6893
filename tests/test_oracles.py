"""The oracles against each other and against the models themselves, on every family."""

from functools import cache

import plain
import pytest
import torch
from tiny_models import FAMILIES, random_tokens, tiny_hf_model

T = 10  # twice the sliding windows
EPSILON = 1e-5
LEFT = torch.ones(T, T, dtype=torch.bool).tril(-1)  # (source, target)
RIGHT = LEFT.T


def largest(x):
    return float(x.abs().max())


@cache
def limited(family):
    """A model, tokens, and the limit: for all tests of one family."""
    model, tokens = tiny_hf_model(family, torch.float64), random_tokens(2, T)
    return model, tokens, plain.plain_limit(model, tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_finite_changes_tend_to_the_limit(family):
    model, tokens, limit = limited(family)
    finite = plain.plain_streams(model, tokens, [EPSILON, -EPSILON])
    torch.testing.assert_close(limit.clean, finite.clean, rtol=0, atol=1e-13)

    derivative = limit.change[:, 0]
    central = (finite.change[:, 0] - finite.change[:, 1]) / (2 * EPSILON)
    # Truncated at epsilon^2 = 1e-10; rounding in float64 gives 1e-16 / epsilon = 1e-11, one cast to
    # float32 left over would give 1e-7 / epsilon = 1e-2.
    error, scale = largest(central - derivative), largest(derivative)
    assert error < 1e-8 * scale

    # The states left of the source are of order 1, and equal but for rounding.
    left = largest(finite.change[..., LEFT, :]), largest(limit.change[..., LEFT, :])
    assert left[0] < 1e-13
    assert left[1] == 0

    # Relative change of the last state per unit of epsilon.
    length = torch.linalg.vector_norm
    delta = (length(limit.change, dim=-1) / length(limit.clean, dim=-1)[:, None, :, None])[-1]
    later = delta[..., RIGHT]
    assert (later > 1e-4).double().mean() > 0.9
    assert later.max() > 1e-2


@pytest.mark.parametrize("position", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_changes_made_further_on_add_up_to_that_of_the_input(family, position):
    """What a change of the input is at `position`, put in there token by token."""
    (model, tokens, limit), source = limited(family), 3
    expected = limit.change[:, 0, :, source]
    directions = iter(expected[position].unbind(1))
    parts = plain.plain_limit(model, tokens, lambda states: next(directions), position)
    found = parts.change[:, 0].sum(2)
    before, error = largest(found[:position]), largest(found[position:] - expected[position:])
    assert before == 0
    # Rounding of float64, some hundred operations deep; the largest change is of order 1.
    assert error < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_model(family):
    """With the attention that the model takes by itself, fused for most."""
    model, tokens, limit = limited(family)
    found = limit.clean
    with torch.no_grad(), plain.uncast():
        hidden = model(tokens, output_hidden_states=True).hidden_states
    written = plain.sublayers(model)
    assert len(found) == len(written)
    # The last hidden state is listed after the final norm.
    at = [i for i, name in enumerate(written) if name in ("input", "mlp", "block")][:-1]
    torch.testing.assert_close(found[at], torch.stack(hidden[:-1]), rtol=0, atol=1e-13)


def test_inner_products_of_finite_changes():
    model, tokens = tiny_hf_model("llama", torch.float64), random_tokens(2, T)
    found = plain.plain_streams(model, tokens, [0.1, 1.0])
    products = plain.inner_products(found)
    state = products["state_state"][:, None, :, None]
    along = products["response_state"] ** 2 / state
    torch.testing.assert_close(
        products["perpendicular"] + along, products["response_response"], rtol=1e-12, atol=1e-14
    )
    # A change by scaling is parallel; squares of rounding are left.
    perpendicular = largest(products["perpendicular"][0])
    assert perpendicular < 1e-30
    switched_off = largest(found.perturbed[0, 1].diagonal(dim1=1, dim2=2))
    assert switched_off < 1e-15


def test_a_model_in_float32_is_no_oracle():
    with pytest.raises(TypeError, match="float32"):
        plain.plain_limit(tiny_hf_model("llama"), random_tokens(1, T))
