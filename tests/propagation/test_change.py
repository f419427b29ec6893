"""A tensor that carries its change, through functions and modules as they are written.

Oracles: plain subtraction in float64, and `torch.func.jvp` for the limit.
"""

import copy
import warnings
from functools import partial

import mpmath
import numpy as np
import plain
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.activations import ACT2FN
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from universal_response.propagation import NoRule, carry
from universal_response.propagation.change import RULES
from universal_response.propagation.precision import FullPrecision

T = torch.Tensor
STRENGTHS = (1e-3, 0.05, 1.0, -2.0)


def numbers(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def subtracted(function, value, change):
    with torch.no_grad():
        return function(value + change) - function(value)


def of_jvp(function, value, change):
    with torch.no_grad():
        return jvp(function, (value,), (change,))[1]


def check(function, value, direction, strengths=STRENGTHS, rtol=1e-9):
    """Value, finite changes and limit, all in float64.

    Subtraction keeps 13 digits at the weakest strength.
    """
    with torch.no_grad():
        expected = function(value)
    for strength in strengths:
        found = carry(function, value, strength * direction)
        torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-12)
        plain = subtracted(function, value, strength * direction)
        torch.testing.assert_close(found[1], plain, rtol=rtol, atol=rtol * abs(strength))
    found = carry(function, value, direction, limit=True)
    torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1], of_jvp(function, value, direction), rtol=1e-10, atol=1e-10)


# every function that has a rule -------------------------------------------------------------------

# They tell of the tensor what a change leaves as it is.
METADATA = {
    *(getattr(T, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda")),
    *(getattr(T, name).__get__ for name in ("requires_grad", "layout", "is_nested", "is_mps")),
    *(getattr(T, name).__get__ for name in ("is_sparse", "is_quantized", "is_meta", "grad_fn")),
    *(T.size, T.dim, T.numel, T.is_floating_point, T.is_complex, T.__len__, T.nelement),
    *(T.element_size, T.stride, T.ndimension, T.is_contiguous, torch.is_floating_point),
    torch.is_tensor,
}

W = numbers(6, 6, seed=1)
OTHER = numbers(2, 4, 6, seed=2)
MASK = numbers(2, 4, 6, seed=3) > 0.5
INDEX = torch.tensor([2, 0, 2])


def of(*functions, call):
    return [(function, call) for function in functions]


def in_place(function, *arguments):
    def call(f, x):
        y = x * 2
        z = f(y, *arguments)
        return y + z

    return [(function, call)]


# Functions, and how they are called on x (2, 4, 6).
CALLS = [
    *of(T.view, T.reshape, call=lambda f, x: f(x, 2, 24)),
    *of(torch.reshape, call=lambda f, x: f(x, (8, 6))),
    *of(T.view_as, call=lambda f, x: f(x, torch.empty(8, 6))),
    *of(T.flatten, torch.flatten, call=lambda f, x: f(x, 1)),
    *of(T.unflatten, call=lambda f, x: f(x, -1, (2, 3))),
    *of(T.squeeze, torch.squeeze, call=lambda f, x: f(x[:, :1], 1)),
    *of(T.unsqueeze, torch.unsqueeze, call=lambda f, x: f(x, 1)),
    *of(T.transpose, torch.transpose, T.swapaxes, torch.swapaxes, call=lambda f, x: f(x, 0, 2)),
    *of(T.permute, torch.permute, call=lambda f, x: f(x, (2, 0, 1))),
    *of(T.movedim, torch.movedim, call=lambda f, x: f(x, 0, -1)),
    *of(T.expand, call=lambda f, x: f(x[None], 3, -1, -1, -1)),
    *of(T.expand_as, call=lambda f, x: f(x[:1], OTHER)),
    *of(T.contiguous, call=lambda f, x: f(x.transpose(0, 1))),
    *of(T.clone, torch.clone, T.detach, T.neg, T.__neg__, torch.neg, call=lambda f, x: f(x)),
    *of(T.__getitem__, call=lambda f, x: f(x, (slice(None), INDEX, ..., slice(None, None, 2)))),
    *of(T.mean, torch.mean, T.sum, torch.sum, call=lambda f, x: f(x, -1, keepdim=True)),
    *of(T.narrow, torch.narrow, call=lambda f, x: f(x, -1, 1, 3)),
    *of(T.index_select, torch.index_select, call=lambda f, x: f(x, 1, INDEX)),
    *of(T.select, torch.select, call=lambda f, x: f(x, 1, 2)),
    *of(T.repeat, call=lambda f, x: f(x, 2, 1, 3)),
    *of(T.repeat_interleave, torch.repeat_interleave, call=lambda f, x: f(x, 3, dim=1)),
    *of(T.roll, torch.roll, call=lambda f, x: f(x, 1, -1)),
    *of(T.flip, torch.flip, call=lambda f, x: f(x, (-1,))),
    *of(T.gather, torch.gather, call=lambda f, x: f(x, 1, INDEX[None, :, None].expand(2, 3, 6))),
    *of(T.T.__get__, call=lambda f, x: f(x[0])),
    *of(T.mT.__get__, T.tril, T.triu, torch.tril, torch.triu, call=lambda f, x: f(x)),
    *of(T.cumsum, torch.cumsum, call=lambda f, x: f(x, 1)),
    *of(T.diagonal, torch.diagonal, call=lambda f, x: f(x, dim1=-2, dim2=-1)),
    *of(F.pad, call=lambda f, x: f(x, (1, 2), value=0.5)),
    *of(T.chunk, T.tensor_split, torch.chunk, call=lambda f, x: sum(f(x, 2, -1))),
    *of(T.split, torch.split, call=lambda f, x: f(x, [2, 4], -1)[1]),
    *of(T.unbind, torch.unbind, call=lambda f, x: f(x, 1)[2] * f(x, 1)[0]),
    *of(torch.cat, torch.concat, torch.stack, call=lambda f, x: f([OTHER, x, 2 * x], -1)),
    *of(T.to, T.type, call=lambda f, x: f(x, torch.float64)),
    *of(T.type_as, call=lambda f, x: f(x, OTHER)),
    *of(T.float, T.half, T.bfloat16, T.double, call=lambda f, x: (f(x) * x).double()),
    *of(F.dropout, call=lambda f, x: f(x, 0.3, training=False)),
    *of(T.add, torch.add, T.sub, torch.sub, call=lambda f, x: f(x, x * OTHER, alpha=0.3)),
    *of(T.__add__, T.__sub__, call=lambda f, x: f(x, OTHER) + f(OTHER, x) + f(x, 2)),
    *of(T.__radd__, T.__rsub__, torch.rsub, call=lambda f, x: f(x, 2) + f(x, OTHER)),
    *of(T.mul, T.__mul__, torch.mul, torch.multiply, call=lambda f, x: f(x, x + 1) + f(OTHER, x)),
    *of(T.__rmul__, call=lambda f, x: f(x, 3)),
    *of(T.div, T.__truediv__, torch.div, torch.true_divide, call=lambda f, x: f(x, x * x + 9)),
    *of(T.__rtruediv__, call=lambda f, x: f(x * x + 9, 3)),
    *of(T.clamp, torch.clamp, call=lambda f, x: f(x, min=-0.7, max=0.4)),
    *of(T.clip, torch.clip, call=lambda f, x: f(x, min=-0.7)),
    *of(T.square, torch.square, call=lambda f, x: f(x)),
    *of(T.pow, T.__pow__, torch.pow, call=lambda f, x: f(x, 2) + f(x, 3)),
    *of(T.matmul, T.__matmul__, torch.matmul, call=lambda f, x: f(x, W) + f(x, f(x.mT, x))),
    *of(T.bmm, torch.bmm, call=lambda f, x: f(x, x.mT)),
    *of(torch.einsum, call=lambda f, x: f("abc,adc,ce->abde", x, x * x, W)),
    *of(T.addmm, torch.addmm, call=lambda f, x: f(x[0], x[1], W, beta=0.5, alpha=2)),
    *of(
        *(T.baddbmm, torch.baddbmm),
        call=lambda f, x: f(OTHER @ OTHER.mT, x, x.mT, beta=0.5, alpha=2),
    ),
    *of(F.linear, call=lambda f, x: f(x, W, W[0])),
    *of(T.sigmoid, torch.sigmoid, F.sigmoid, call=lambda f, x: f(x)),
    *of(T.tanh, torch.tanh, F.tanh, T.relu, torch.relu, F.relu, F.silu, call=lambda f, x: f(x)),
    *of(F.gelu, call=lambda f, x: f(x) + f(2 * x, approximate="tanh")),
    *of(T.softmax, torch.softmax, F.softmax, call=lambda f, x: f(3 * x, dim=1)),
    *of(T.masked_fill, torch.masked_fill, call=lambda f, x: f(x, MASK, 0.5)),
    *of(torch.where, call=lambda f, x: f(MASK, x, OTHER) + f(MASK, 0.5, x) + f(MASK, x, x * x)),
    *of(T.where, call=lambda f, x: f(x, MASK, OTHER)),
    *of(F.layer_norm, call=lambda f, x: f(x, (6,), W[0], W[1], 1e-5)),
    *of(F.scaled_dot_product_attention, call=lambda f, x: f(x, x * x, x)),
    *(each for f in (T.add_, T.__iadd__, T.sub_, T.__isub__) for each in in_place(f, OTHER)),
    *(each for f in (T.mul_, T.__imul__, T.div_, T.__itruediv__) for each in in_place(f, OTHER)),
    *in_place(T.clamp_, -0.5, 0.7),
    *in_place(T.masked_fill_, MASK, 0.5),
]


def names(calls):
    return [getattr(function, "__qualname__", str(function)) for function, _ in calls]


def test_every_rule_is_called():
    assert {function for function, _ in CALLS} == set(RULES) - METADATA
    assert set(RULES) >= METADATA


EXACT = [each for each in CALLS if each[0] not in (T.float, T.half, T.bfloat16, T.detach)]


@pytest.mark.parametrize(("function", "call"), EXACT, ids=names(EXACT))
def test_rule(function, call):
    check(partial(call, function), numbers(2, 4, 6), numbers(2, 4, 6, seed=9))


def test_detached_it_changes_all_the_same():
    """A derivative of torch ends there, a change does not."""
    value, change = numbers(4, 6), numbers(4, 6, seed=9)
    for limit in (False, True):
        found = carry(lambda x: x.detach() * 2, value, change, limit)
        torch.testing.assert_close(found, (2 * value, 2 * change), rtol=0, atol=0)


@pytest.mark.parametrize("cast", [T.float, T.half, T.bfloat16, partial(T.to, dtype=torch.half)])
def test_casts_leave_a_change_as_it_is(cast):
    """One of 1e-10 would be gone in half precision, and so most digits of any other."""
    value, change = numbers(4, 6), 1e-10 * numbers(4, 6, seed=9)
    seen = []

    def function(x):
        low = cast(x)
        seen.append(low.dtype)
        return (low * low).softmax(-1).to(x.dtype) + x

    def exact(x):
        return (x * x).softmax(-1) + x

    found = carry(function, value, change)
    expected = carry(exact, value, change)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert seen[0] in (torch.float32, torch.half, torch.bfloat16)
    assert found[1].dtype == torch.float64


@pytest.mark.parametrize(
    "metadata",
    [f for f in RULES if f in METADATA],
    ids=lambda f: getattr(f, "__qualname__", str(f)),
)
def test_metadata_is_that_of_the_value(metadata):
    value = numbers(2, 4, 6)
    expected = metadata(value)
    if metadata is T.stride:
        # Numbers are laid out without gaps, whatever the value was a view of.
        expected = (24, 6, 1)

    def function(x):
        assert metadata(x) == expected
        return x

    carry(function, value, value)


# what has no rule ---------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.exp, "exp"),
        (lambda x: x.topk(2), "topk"),
        (F.softplus, "softplus"),
        (lambda x: x > 0, "gt"),
        (lambda x: x.item(), "item"),
        (lambda x: x**0.5, "pow"),
        (lambda x: x**-1, "pow"),
        (lambda x: 2**x, "__rpow__"),
        (lambda x: F.linear(OTHER, x[0]), "linear"),
        (lambda x: F.dropout(x, 0.1, training=True), "dropout"),
        (lambda x: torch.where(x, x, x), "where"),
        (lambda x: torch.einsum("abc,abc,abc->ab", x, x, x), "einsum"),
        (lambda x: F.softmax(x), "softmax"),
        (lambda x: x.long(), "long"),
        (lambda x: x.to(torch.long), "to"),
        (lambda x: x.type(torch.int32), "type"),
        (lambda x: F.layer_norm(x, (4, 6)), "layer_norm"),
        (lambda x: torch.add(x, x, out=x), "add"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "div"),
        (lambda x: torch.zeros(4).index_put_((INDEX,), x[0, :3, 0]), "index_put_"),
        (lambda x: np.asarray(x), "__array__"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1), "dropout"),
    ],
)
def test_operations_without_a_rule_are_named(function, name):
    with pytest.raises(NoRule, match=f"(^|[.: _]){name}"):
        carry(function, numbers(2, 4, 6), numbers(2, 4, 6, seed=9))


def written_by_slices(x):
    y = torch.zeros(2, 4, 6, dtype=torch.float64)
    y[:, :2] = x[:, :2]
    return y


def alias(name, view, write=lambda x: x.add_(1)):
    """Writing into a view of x, or into x beside one, where the other shows it."""

    def into_view(x):
        x = x * 2
        write(view(x))
        return x

    def beside_view(x):
        x = x * 2
        seen = view(x)
        write(x)
        return seen * 1

    return [
        pytest.param(into_view, id=f"{name}, into"),
        pytest.param(beside_view, id=f"{name}, beside"),
    ]


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(written_by_slices, id="slices"),
        pytest.param(lambda x: OTHER.clone().mul_(x), id="plain"),
        *alias("view", lambda x: x.view(8, 6)),
        *alias("index", lambda x: x[:, 1:]),
        *alias("transpose", lambda x: x.mT),
        *alias("chunk", lambda x: x.chunk(2, -1)[0]),
        *alias("unbind", lambda x: x.unbind(1)[0]),
        *alias("to", lambda x: x.to(torch.float64)),
        *alias("contiguous", lambda x: x.contiguous()),
        *alias("detach", lambda x: x.detach()),
        *alias("view of a view", lambda x: x.mT.narrow(-1, 0, 2).expand(2, 6, 2)),
    ],
)
def test_writing_into_shared_memory(function):
    """It is refused, or the other tensor shows it too."""
    value, change = numbers(2, 4, 6), numbers(2, 4, 6, seed=9)
    try:
        found = carry(function, value, change)
    except NoRule:
        return
    torch.testing.assert_close(found[0], function(value))
    torch.testing.assert_close(found[1], subtracted(function, value, change))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (y := x * 2, z := y * 3, y.add_(1), z)[-1],
        lambda x: (y := x * 2, z := y.sigmoid(), y.add_(1), z * y)[-1],
        lambda x: (y := x * 2, z := torch.cat([y, y]), y.mul_(OTHER), z * z)[-1],
        lambda x: (y := x * 2, z := F.silu(y), y.mul_(OTHER), z * y)[-1],
        lambda x: (y := x * 2, z := F.relu(y, inplace=True), y + 2 * z)[-1],
        lambda x: (y := x * 2, z := F.silu(y, inplace=True), y * z)[-1],
        lambda x: (y := x * 2, z := nn.Dropout(0.5).eval()(y), z.add_(1), y * z)[-1],
    ],
    ids=["product", "sigmoid", "cat", "silu", "relu inplace", "silu inplace", "dropout"],
)
def test_what_was_made_before_a_tensor_is_written_into(function):
    """It keeps the value from before, though values are not computed before they are needed."""
    check(function, numbers(2, 4, 6), numbers(2, 4, 6, seed=9))


def test_a_plain_tensor_brought_into_shape_stays_plain():
    mask = numbers(4, 1)

    def function(x):
        for unchanged in (mask.expand_as(x), W.view_as(x[0].mT @ x[0]), W.type_as(x), W.to(x)):
            assert type(unchanged) is T
        return x * mask.expand_as(x)

    check(function, numbers(2, 4, 6), numbers(2, 4, 6, seed=9))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, dtype: x.sum(-1, dtype=dtype).double(),
        lambda x, dtype: torch.mean(x * x, -1, dtype=dtype).double(),
        lambda x, dtype: torch.cumsum(x, -1, dtype=dtype).double(),
        lambda x, dtype: F.softmax(x, -1, dtype=dtype).double(),
    ],
)
def test_reductions_in_fewer_digits_leave_a_change_as_it_is(function):
    value, change = numbers(2, 4, 6), 1e-3 * numbers(2, 4, 6, seed=9)
    _, found = carry(partial(function, dtype=torch.float32), value, change)
    expected = subtracted(partial(function, dtype=torch.float64), value, change)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.einsum("abc,adc->abd", [x, x * x]),
        lambda x: x.masked_fill(MASK, x.mean()),
        lambda x: OTHER.masked_fill(MASK, x.mean()),
        lambda x: F.pad(x, (1, 1), mode="reflect"),
        lambda x: torch.where(MASK, x.mean(), x),
        lambda x: x.sum() * x / (x * x).sum(),
        lambda x: x.mean((0, 1)) + x,
        lambda x: torch.stack([*x.unbind(1)[:2], OTHER[:, 0]], 1) @ W,
        lambda x: x @ x[0, 0],
        lambda x: OTHER @ x.mT @ x @ OTHER.mT,
        lambda x: F.silu(x) * x[:1] + F.silu(x) * 2,
        lambda x: F.silu(x[0].T) * (x[0].T @ W[:4, :4]),
        lambda x: x * MASK,
        lambda x: x.softmax(0) @ W,
        lambda x: F.layer_norm(x.mT, (4,)),
    ],
)
def test_other_ways_to_write_it(function):
    check(function, numbers(2, 4, 6), numbers(2, 4, 6, seed=9))


def test_arguments_of_carry():
    value = numbers(4, 6)
    with pytest.raises(ValueError, match=r"shape \(4, 5\) is not that of value, \(4, 6\)"):
        carry(torch.sigmoid, value, value[:, :5])
    with pytest.raises(ValueError, match="does not depend"):
        carry(lambda x: value, value, value)
    before = value.clone()
    carry(lambda x: x.add_(1), value, value)
    torch.testing.assert_close(value, before, rtol=0, atol=0)
    # No gradient is kept.
    found = carry(torch.sigmoid, value.clone().requires_grad_(), value)
    assert not any(each.requires_grad for each in found)


# modules ---------------------------------------------------


class Attention(nn.Module):
    """Attention and nothing else, of vectors (sequence, token, d)."""

    def __init__(self, d, n_heads, masking="where", mixing="einsum"):
        super().__init__()
        self.n_heads, self.masking, self.mixing = n_heads, masking, mixing
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=bool(i)) for i in range(4))

    def forward(self, x):
        split = (*x.shape[:-1], self.n_heads, -1)
        q, k, v = (each(x).view(split).transpose(1, 2) for each in (self.q, self.k, self.v))
        t = x.shape[1]
        seen = torch.ones(t, t, dtype=torch.bool).tril()
        if self.mixing == "einsum":
            scores = torch.einsum("shqd,shkd->shqk", q, k) / q.shape[-1] ** 0.5
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if self.masking == "where":
            scores = torch.where(seen, scores, -torch.inf)
        elif self.masking == "masked_fill":
            scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        else:
            scores = scores + torch.zeros(t, t).masked_fill(~seen, -torch.inf)
        p = scores.softmax(-1)
        mixed = torch.einsum("shqk,shkd->shqd", p, v) if self.mixing == "einsum" else p @ v
        return x + self.o(mixed.transpose(1, 2).flatten(2))


def seeded(make, dtype=torch.float64):
    torch.manual_seed(0)
    return make().to(dtype).eval()


@pytest.mark.parametrize("mixing", ["einsum", "matmul"])
@pytest.mark.parametrize("masking", ["where", "masked_fill", "added"])
def test_attention_only_model(masking, mixing):
    model = seeded(lambda: nn.Sequential(*(Attention(8, 2, masking, mixing) for _ in range(3))))
    x, direction = 2 * numbers(3, 5, 8), numbers(3, 5, 8, seed=9)
    check(model, x, direction)
    # As in the passes: one token is scaled.
    one = -x * (torch.arange(5) == 1)[:, None]
    check(model, x, one)
    found = carry(model, x, 1e-9 * one)[1]
    assert (found[:, 0] == 0).all()
    limit = carry(model, x, one, limit=True)[1]
    torch.testing.assert_close(found / 1e-9, limit, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("strength", [1e-9, 1e-4, 0.05, 1])
def test_attention_only_model_in_float32(strength):
    """Where subtraction loses all digits; against float64, of the same float32 numbers."""
    model = seeded(lambda: nn.Sequential(*(Attention(8, 2) for _ in range(3))), torch.float32)
    x = 2 * numbers(3, 5, 8, dtype=torch.float32)
    change = strength * numbers(3, 5, 8, seed=9, dtype=torch.float32)
    found = carry(model, x, change)
    assert found[0].dtype == found[1].dtype == torch.float32
    exact = carry(copy.deepcopy(model).double(), x.double(), change.double())
    for each, expected in zip(found, exact, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(each.double(), expected, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(6, 6),
        lambda: nn.LayerNorm(6),
        lambda: LlamaRMSNorm(6),
        lambda: Attention(6, 2),
        lambda: nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6)),
    ],
    ids=["linear", "layer norm", "rms norm", "attention", "mlp"],
)
@pytest.mark.parametrize("value_type", [torch.float32, torch.float64])
def test_a_float32_module_carries_a_float64_change(make, value_type):
    """\"float64 for full precision\": all inside is then as precise."""
    model = seeded(make, torch.float32)
    x, change = (
        numbers(2, 4, 6, dtype=torch.float32).to(value_type),
        1e-3 * numbers(2, 4, 6, seed=9),
    )
    found = carry(model, x, change)
    double = copy.deepcopy(model).double()
    assert found[1].dtype == torch.float64
    with FullPrecision():
        expected = subtracted(double, x.double(), change)
    torch.testing.assert_close(found[1], expected, rtol=1e-9, atol=1e-12)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu tanh": lambda: nn.GELU("tanh"),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
} | {
    name: (lambda name=name: ACT2FN[name])
    for name in ACT2FN
    if "gelu" in name or name in ("silu", "relu2")
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_mlp(name):
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 24), ACTIVATIONS[name](), nn.Linear(24, 6)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(
            model,
            4 * numbers(7, 6),
            numbers(7, 6, seed=9),
            rtol=3e-8 if "pytorch" in name else 1e-9,
        )


def heads(x, n, seed):
    """(2, 4, 6) -> (2, head, 4, 3)."""
    return (x @ numbers(6, 3 * n, seed=seed)).unflatten(-1, (n, 3)).transpose(1, 2)


BOOLEAN = numbers(4, 4, seed=6).abs() + torch.eye(4) > 0.7


@pytest.mark.parametrize(
    ("n_keys", "options"),
    [
        (2, {}),
        (2, {"is_causal": True}),
        (2, {"attn_mask": BOOLEAN}),
        (2, {"attn_mask": BOOLEAN.expand(2, 2, 4, 4), "scale": 0.3}),
        (2, {"attn_mask": numbers(2, 4, 4, seed=7)}),
        (2, {"attn_mask": torch.zeros(4, 4).masked_fill(~BOOLEAN, -torch.inf).double()}),
        (1, {"is_causal": True, "enable_gqa": True}),
    ],
)
def test_scaled_dot_product_attention(n_keys, options):
    x, direction = 2 * numbers(2, 4, 6), numbers(2, 4, 6, seed=9)

    def attention(x, of_q=None, of_k=None, of_v=None):
        parts = zip((of_q, of_k, of_v), (2, n_keys, n_keys), (3, 4, 5), strict=True)
        qkv = (heads(x if each is None else each, n, seed) for each, n, seed in parts)
        return F.scaled_dot_product_attention(*qkv, **options)

    # The only one of torch's kernels with a forward derivative.
    with sdpa_kernel(SDPBackend.MATH):
        check(attention, x, direction)
        for name in ("of_q", "of_k", "of_v"):
            check(partial(attention, **{name: OTHER}), x, direction)


NORMS = {
    "layer norm": (lambda: nn.LayerNorm(6), 1e-5, True),
    "layer norm, plain": (lambda: nn.LayerNorm(6, elementwise_affine=False, eps=1e-6), 1e-6, True),
    "llama": (lambda: LlamaRMSNorm(6, eps=1e-6), 1e-6, False),
    "llama, 1e-12": (lambda: LlamaRMSNorm(6, eps=1e-12), 1e-12, False),
    "gemma": (lambda: Gemma3RMSNorm(6, eps=1e-6), 1e-6, False),
    "torch": (lambda: nn.RMSNorm(6, eps=1e-5), 1e-5, False),
}


def norm_of(name):
    """With gains and biases of its own."""
    model = seeded(NORMS[name][0])
    with torch.no_grad():
        for seed, each in enumerate(model.parameters()):
            each += numbers(6, seed=20 + seed)
    return model


@pytest.mark.parametrize("name", NORMS)
def test_norms(name):
    model = norm_of(name)
    with plain.uncast():
        check(model, numbers(2, 4, 6), numbers(2, 4, 6, seed=9))
        check(nn.Sequential(nn.Linear(6, 6).double(), model), numbers(2, 6), numbers(2, 6, seed=9))


# In powers of two, so that the changes of the numbers below are parallel to the last digit.
@pytest.mark.parametrize("strength", [2**-40, 2**-20, 2**-4, 1 - 2**-10, 1, 3, -0.5])
@pytest.mark.parametrize("name", NORMS)
def test_norm_of_a_change_parallel_to_the_input(name, strength):
    """What is left is what the constant makes of it: (1 - eps) r' - r with r = (m + e)^(-1/2).

    As a function of e / m, in 60 digits; for the limit its derivative.
    """
    model, constant, centred = norm_of(name), *NORMS[name][1:]
    # Float32 numbers, whose mean over six has no rounding either.
    x = (12 * numbers(5, 6)).round().double()
    if centred:
        x -= x.sum(-1, keepdim=True)
        x[..., -1] = -x[..., :-1].sum(-1)
    found = carry(model, x, -strength * x)[1]
    limit = carry(model, x, -x, limit=True)[1]
    MP = mpmath.mp.clone()
    MP.dps = 60
    with torch.no_grad():
        unit = model.double()(x) - model(torch.zeros_like(x))
    m, e = (x * x).mean(-1), MP.mpf(constant)
    for row in range(5):
        of_row = MP.mpf(float(m[row]))

        def size(eps, of_row=of_row):
            return (1 - eps) / MP.sqrt((1 - eps) ** 2 * of_row + e)

        ratio = float((size(MP.mpf(strength)) - size(0)) / size(0))
        torch.testing.assert_close(found[row], ratio * unit[row], rtol=2e-6, atol=0)
        slope = float(MP.diff(size, 0) / size(0))
        torch.testing.assert_close(limit[row], slope * unit[row], rtol=2e-6, atol=0)


# modules with an operation that has no rule ---------------------------------------------------


class Experts(nn.Module):
    """Each token goes to one of the experts."""

    def __init__(self, d, n):
        super().__init__()
        self.router = nn.Linear(d, n)
        self.experts = nn.ModuleList(nn.Linear(d, d) for _ in range(n))

    def chosen(self, x):
        return self.router(x).softmax(-1).topk(1)

    def forward(self, x):
        weight, chosen = self.chosen(x)
        found = torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            found = found + torch.where(chosen == k, weight * expert(x), 0)
        return found


class Block(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.norm, self.inner = LlamaRMSNorm(6), inner

    def forward(self, x):
        return x + self.inner(self.norm(x))


class Returning(nn.Module):
    """exp, which has no rule, in a form of choice."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return self.form(x)


def test_a_switched_expert_is_seen():
    model = seeded(lambda: Block(Experts(6, 4)))
    x, direction = numbers(9, 6), numbers(9, 6, seed=9)
    with warnings.catch_warnings(record=True) as caught, plain.uncast():
        warnings.simplefilter("always")
        found = carry(model, x, direction)
        expected = subtracted(model, x, direction)
        limit = carry(model, x, direction, limit=True)[1]
        of_limit = of_jvp(model, x, direction)
        weak = carry(model, x, 1e-9 * direction)[1]
    # Once a run, by name.
    assert len(caught) == 3, [str(each.message) for each in caught]
    assert "module inner has" in str(caught[0].message)
    assert "topk" in str(caught[0].message)
    torch.testing.assert_close(found[0], model(x).detach())
    torch.testing.assert_close(found[1], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(limit, of_limit, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weak / 1e-9, limit, rtol=1e-5, atol=1e-5)
    normed, moved = model.norm(x), model.norm(x + direction)
    switched = (model.inner.chosen(normed)[1] != model.inner.chosen(moved)[1])[:, 0]
    assert 0 < switched.sum() < 9


def test_it_is_named_within_the_whole():
    model = nn.Sequential(nn.Linear(6, 6), nn.ModuleDict({"a": Block(Returning(torch.exp))})["a"])
    model = model.double()
    with pytest.warns(UserWarning, match=r"module 1\.inner has.*exp"), plain.uncast():
        check(model, numbers(4, 6), numbers(4, 6, seed=9))


@pytest.mark.parametrize(
    "form",
    [
        lambda x: (x.exp(), x.shape),
        lambda x: x.mul_(2).exp(),
        lambda x: F.softplus(x) + torch.zeros_like(x),
        lambda x: x + torch.div(x, 2, rounding_mode="floor"),
        lambda x: x * (x > 0),
    ],
    ids=["tuple", "in place", "zeros_like", "argument", "comparison"],
)
def test_forms_that_run_by_themselves(form):
    inner = Returning(form)
    value, change = numbers(4, 6), numbers(4, 6, seed=9)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            found = self.inner(x * 1)
            return found[0] if isinstance(found, tuple) else found

    model = Outer()
    with pytest.warns(UserWarning, match="module inner has"):
        found = carry(model, value, change)
    torch.testing.assert_close(found[0], model(value))
    torch.testing.assert_close(found[1], subtracted(model, value, change))


def test_a_result_of_another_shape_is_refused():
    """Of the module; the one around it is tried, and of the outermost the operation is named."""
    model = nn.Sequential(Block(Returning(lambda x: x)), Returning(lambda x: x.exp().sum(-1)))
    with pytest.raises(NoRule, match="exp"):
        carry(model.double(), numbers(4, 6), numbers(4, 6))
    outer = Returning(lambda x: x + model[1](x)[..., None])
    outer.model = model
    with pytest.warns(UserWarning, match=r"exp"):
        found = carry(outer.double(), numbers(4, 6), numbers(4, 6, seed=9))
    torch.testing.assert_close(found[1], subtracted(outer, numbers(4, 6), numbers(4, 6, seed=9)))


def test_modules_are_as_before():
    """Their own forward is back, also after an error; what another library put there stays."""
    model = nn.Sequential(Block(Attention(6, 2)), Returning(lambda x: x.exp().sum(-1))).double()
    foreign = model[0].norm
    foreign.forward = type(foreign).forward.__get__(foreign)
    with pytest.raises(NoRule):
        carry(model, numbers(2, 4, 6), numbers(2, 4, 6))
    del model[1]
    with pytest.raises(NoRule):
        # By its steps: an rsqrt.
        carry(model[0].norm.forward, numbers(2, 4, 6), numbers(2, 4, 6))
    assert [name for name, each in model.named_modules() if "forward" in vars(each)] == ["0.norm"]
