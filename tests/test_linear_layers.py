"""Fast linear layers: the same numbers, two products for a dual number, and nothing left behind."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode
from transformers.pytorch_utils import Conv1D
from universal_response import linear_layers
from universal_response.linear_layers import fast_linear_layers

ROWS = 12


@pytest.fixture(params=["prepacked", "not prepacked"])
def model(request, monkeypatch):
    if request.param == "not prepacked":
        monkeypatch.setattr(linear_layers, "PREPACKED_BYTES", 0)
    torch.manual_seed(0)
    last = Conv1D(4, 3)
    torch.nn.init.normal_(last.bias)
    layers = torch.nn.Linear(5, 7), torch.nn.Linear(7, 3, bias=False), last
    return torch.nn.Sequential(*layers)


def replaced(model):
    return ["forward" in vars(layer) for layer in model]


@pytest.mark.parametrize("shape", [(1, ROWS, 5), (ROWS + 1, 5), (1, 1, 5)])
@torch.no_grad()
def test_the_same_numbers_for_any_number_of_rows(model, shape):
    x = torch.randn(shape)
    expected = model(x)
    with fast_linear_layers(model, ROWS):
        assert all(replaced(model))
        torch.testing.assert_close(model(x), expected)


@torch.no_grad()
def test_dual_numbers(model):
    x, direction = torch.randn(2, ROWS, 5)
    expected = direction @ model[0].weight.T @ model[1].weight.T @ model[2].weight
    with fast_linear_layers(model, ROWS), forward_ad.dual_level():
        value, tangent = forward_ad.unpack_dual(model(forward_ad.make_dual(x, direction)))
    torch.testing.assert_close(value, model(x))
    torch.testing.assert_close(tangent, expected)


@torch.no_grad()
def test_a_dual_number_takes_two_products(model, monkeypatch):
    # PyTorch's counter does not know the kernels of prepacked weights.
    monkeypatch.setattr(linear_layers, "PREPACKED_BYTES", 0)
    x, direction = torch.randn(2, ROWS, 5)
    with FlopCounterMode(display=False) as one:
        model(x)
    counter = FlopCounterMode(display=False)
    with fast_linear_layers(model, ROWS), forward_ad.dual_level(), counter:
        model(forward_ad.make_dual(x, direction))
    assert counter.get_total_flops() == 2 * one.get_total_flops() > 0


@pytest.mark.parametrize("reason", ["fits", "too large", "float64", "no kernels"])
@torch.no_grad()
def test_laid_out_beforehand_if_there_are_kernels_and_room(model, monkeypatch, reason):
    size = 4 * (5 * 7 + 7 * 3 + 3 * 4)
    monkeypatch.setattr(linear_layers, "PREPACKED_BYTES", size - (reason == "too large"))
    if reason == "float64":
        model.double()
    elif reason == "no kernels":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    made = []
    packed = linear_layers._packed_product
    monkeypatch.setattr(
        linear_layers, "_packed_product", lambda *given: made.append(1) or packed(*given)
    )
    x = torch.randn(ROWS, 5).to(model[0].weight)
    expected = model(x)
    with fast_linear_layers(model, ROWS):
        torch.testing.assert_close(model(x), expected)
    assert len(made) == (3 if reason == "fits" else 0)


def test_layers_are_as_before_also_after_an_error(model):
    with pytest.raises(RuntimeError, match="on purpose"), fast_linear_layers(model, ROWS):
        raise RuntimeError("on purpose")
    assert not any(replaced(model))


def test_a_forward_that_another_library_replaced_is_left_alone(model):
    """As accelerate does for models spread over several devices."""
    other = model[1].forward = model[1].forward
    with fast_linear_layers(model, ROWS):
        assert model[1].forward is other
    assert replaced(model) == [False, True, False]
