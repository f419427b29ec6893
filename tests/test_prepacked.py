"""Prepacked linear layers: the same numbers, also for dual numbers, and nothing left behind."""

import pytest
import torch
from torch.autograd import forward_ad
from universal_response import prepacked as module
from universal_response.prepacked import prepacked

ROWS = 12


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3, bias=False))


@pytest.mark.parametrize("shape", [(1, ROWS, 5), (ROWS + 1, 5), (1, 1, 5)])
@torch.no_grad()
def test_the_same_numbers_for_any_number_of_rows(model, shape):
    x = torch.randn(shape)
    expected = model(x)
    with prepacked(model, ROWS):
        assert all("forward" in vars(layer) for layer in model)
        torch.testing.assert_close(model(x), expected)


@torch.no_grad()
def test_dual_numbers(model):
    x, direction = torch.randn(2, ROWS, 5)
    expected = model[1].weight @ model[0].weight @ direction.T
    with prepacked(model, ROWS), forward_ad.dual_level():
        value, tangent = forward_ad.unpack_dual(model(forward_ad.make_dual(x, direction)))
    torch.testing.assert_close(value, model(x))
    torch.testing.assert_close(tangent, expected.T)


def test_layers_are_as_before_also_after_an_error(model):
    with pytest.raises(RuntimeError, match="on purpose"), prepacked(model, ROWS):
        raise RuntimeError("on purpose")
    assert not any("forward" in vars(layer) for layer in model)


@pytest.mark.parametrize("reason", ["too large", "float64", "no kernels"])
def test_left_alone(model, monkeypatch, reason):
    if reason == "too large":
        monkeypatch.setattr(module, "PREPACKED_BYTES", 4 * (5 * 7 + 7 * 3) - 1)
    elif reason == "float64":
        model.double()
    else:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with prepacked(model, ROWS):
        assert not any("forward" in vars(layer) for layer in model)
