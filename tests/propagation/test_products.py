"""Products of linear layers: by the faster kernels, in fewer digits for changes; all given back."""

import pytest
import torch
from tiny_models import random_tokens, tiny_model
from transformers.pytorch_utils import Conv1D
from universal_response import inner_products
from universal_response.metrics import delta
from universal_response.propagation import products
from universal_response.propagation.change import Carried
from universal_response.propagation.modules import carrying
from universal_response.propagation.pair import Terms
from universal_response.propagation.products import products_of

ROWS = 12


@pytest.fixture(params=["oneDNN", "PyTorch's choice"])
def model(request, monkeypatch):
    if request.param != "oneDNN":
        monkeypatch.setattr(products, "_available", lambda: False)
    torch.manual_seed(0)
    last = Conv1D(4, 3)
    torch.nn.init.normal_(last.bias)
    layers = torch.nn.Linear(5, 7), torch.nn.Linear(7, 3, bias=False), last
    return torch.nn.Sequential(*layers)


def replaced(model):
    return ["forward" in vars(layer) for layer in model]


@pytest.mark.parametrize("shape", [(1, ROWS, 5), (ROWS + 1, 5), (1, 1, 5)])
@torch.no_grad()
def test_values_and_changes_for_any_number_of_rows(model, shape):
    x, d = torch.randn(2, *shape)
    expected = model(x)
    with carrying(model):
        assert all(replaced(model))
        torch.testing.assert_close(model(x), expected)
        found = model(Carried(x, d, Terms()))
    torch.testing.assert_close(found.value, expected)
    by_hand = d @ model[0].weight.T @ model[1].weight.T @ model[2].weight
    torch.testing.assert_close(found.change, by_hand)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("there", [True, False])
@torch.no_grad()
def test_products_of_float32_take_the_kernels_that_are_there(monkeypatch, dtype, there):
    if there and not products._available():
        pytest.skip("this PyTorch has no such kernels")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: there)
    dtype = getattr(torch, dtype)
    layer = torch.nn.Linear(5, 7).to(dtype)
    multiply = products_of([layer], "float32")[layer]
    x, d = torch.randn(2, ROWS, 5)
    with torch.profiler.profile() as seen:
        value, change = multiply.value(x.to(dtype)), multiply.change(d)
    torch.testing.assert_close(value, layer(x.to(dtype)))
    torch.testing.assert_close(change, d @ layer.weight.to(d.dtype).T)
    fast = sum(each.name == "mkldnn::_linear_pointwise" for each in seen.events())
    # Of a model in fewer digits changes are float32 all the same.
    assert fast == there * (1 + (dtype == torch.float32))


def test_layers_are_as_before_also_after_an_error(model):
    with pytest.raises(RuntimeError, match="on purpose"), carrying(model):
        raise RuntimeError("on purpose")
    assert not any(replaced(model))


def test_a_forward_that_another_library_replaced_is_left_alone(model):
    """As accelerate does for models spread over several devices."""
    other = model[1].forward = model[1].forward
    with carrying(model):
        assert model[1].forward is other
    assert replaced(model) == [False, True, False]


def test_a_change_more_precise_than_the_weights_keeps_its_digits(model):
    d = torch.randn(ROWS, 5, dtype=torch.float64)
    multiply = products_of([model[0]], "float32")[model[0]]
    expected = d @ model[0].weight.detach().double().T
    torch.testing.assert_close(multiply.change(d), expected, rtol=1e-14, atol=1e-14)


def test_bfloat16_products_change_lengths_by_less_than_a_hundredth():
    """Its eight bits round a term by 0.2 per cent; sums over the width are off by less."""
    model, tokens = tiny_model("llama"), random_tokens(2, 10)
    full, low = (inner_products(tokens, model, [0.1], products=p) for p in ("float32", "bfloat16"))
    responded = delta(full)[-1] > 0
    off = (delta(low)[-1] / delta(full)[-1] - 1).abs()[responded]
    assert 1e-5 < off.median() < 0.01
    assert torch.equal(low.state_state, full.state_state)


@pytest.mark.parametrize(
    ("name", "said"), [("tf32", r"needs a CUDA device"), ("int8", r"choose one of float32")]
)
def test_a_precision_that_is_not_to_be_had_is_named(name, said):
    with pytest.raises(ValueError, match=rf"\Aproducts={name}: [^\n]*{said}[^\n]*\Z"):
        inner_products(random_tokens(1, 4), tiny_model("gpt2"), [0.1], products=name)
