"""A tensor that carries a value and its change through the code of a model.

`Carried` is a `torch.Tensor` to whoever computes with it. Every function applied to it is looked
up in a table, `RULES`: it applies the function to the value and the function's rule to the change.
A function without a rule raises `NoRule`; nothing passes silently. Values are computed only where
a rule asks for them: most are known already from the clean pass (`Rows`).
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.rules import SelfGated

# Numbers of an elementwise rule that a processor takes at a time, so that all it needs stays in cache.
NUMBERS_AT_A_TIME = 3 << 16

Rule = Callable[..., Any]
RULES: dict[Callable[..., Any], Rule] = {}


class NoRule(NotImplementedError):
    """A function, applied to a carried change, whose rule is not known."""


@dataclass(frozen=True)
class Rows:
    """Rows of a clean tensor, not gathered before they are needed.

    Attributes:
        table: (token, width).
        index: of every row its token, (row,).
        memo: what was computed from the table, by the function that did.
    """

    table: Tensor
    index: Tensor
    memo: dict[Any, tuple[Tensor, ...]] = field(default_factory=dict)

    def __getitem__(self, rows: slice) -> Tensor:
        return self.table.index_select(0, self.index[rows])

    def computed(self, function: Callable[[Tensor], tuple[Tensor, ...]]) -> list["Rows"]:
        """Rows of what a function makes of every row of the table."""
        if function not in self.memo:
            self.memo[function] = function(self.table)
        return [Rows(table, self.index) for table in self.memo[function]]


@dataclass(frozen=True)
class Terms:
    """How changes are carried: exactly, or in the limit of weak ones.

    Attributes:
        limit: leave out products of changes.
        index: of every row of a pass, its token in the tables of clean values; None without those.
    """

    limit: bool = False
    index: Tensor | None = None


@dataclass(frozen=True)
class Pending:
    """A self-gated activation that is computed with what comes next, part by part."""

    activation: SelfGated
    gate: "Carried"

    @property
    def saved(self) -> Sequence[Tensor | Rows]:
        return computed(self.gate, self.activation.saved)

    @property
    def of_rows(self) -> Callable[[slice], Tensor]:
        """The change of some rows."""
        saved, change, limit = self.saved, _flat(self.gate.change), self.gate.terms.limit

        def found(rows: slice) -> Tensor:
            return self.activation.change(lambda k: saved[k][rows], change[rows], limit)

        return found


class Carried(torch.Tensor):
    """A value and its change."""

    terms: Terms
    # Rows, their values and changes in full precision, where no other row changes.
    exact: tuple[Tensor, Tensor, Tensor] | None = None
    # Of every row mean x^2, (x.d) / (x.x) and mean w^2 of the part w perpendicular to x, (row, 1).
    moments: tuple[Tensor, Tensor, Tensor] | None = None
    # Whether its numbers may be those of another tensor as well.
    shared: bool = False
    _value: Tensor | Rows | Callable[[], Tensor]
    _change: Tensor | Pending

    @staticmethod
    def __new__(
        cls: type["Carried"],
        value: Tensor | Rows | Callable[[], Tensor],
        change: Tensor | Pending,
        terms: Terms,
        dtype: torch.dtype | None = None,
    ) -> "Carried":
        like: Tensor = change.gate if isinstance(change, Pending) else change
        made = torch.Tensor._make_wrapper_subclass(
            cls, like.shape, dtype=dtype or like.dtype, device=like.device
        )
        made._value, made._change, made.terms = value, change, terms
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    @property
    def value(self) -> Tensor:
        """The clean value, in the dtype of the change at least."""
        if isinstance(self._value, Rows):
            found = self._value[slice(None)].view(self.shape)
        elif callable(self._value):
            found = self._value()
        else:
            found = self._value
        self._value = found
        return found.to(self.change_dtype) if found.is_floating_point() else found

    @property
    def change_dtype(self) -> torch.dtype:
        pending = isinstance(self._change, Pending)
        return self._change.gate.change_dtype if pending else self._change.dtype

    @property
    def change(self) -> Tensor:
        if isinstance(self._change, Pending):
            pending = self._change
            self._change = by_rows(self.shape, self.device, pending.of_rows)
        return self._change

    def put(self, value: Any, change: Tensor | Pending | None = None) -> None:
        """Set what this tensor carries, for all who hold it."""
        self._value = value
        if change is not None:
            self._change = change
        self.moments = self.exact = None

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        rule = RULES.get(func)
        if rule is None:
            raise NoRule(f"{getattr(func, '__qualname__', func)}: no rule for its change")
        with torch._C.DisableTorchFunctionSubclass():
            return rule(func, *args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: Any = None
    ) -> Any:
        raise NoRule(f"{func}: no rule for its change")


def carry(
    function: Callable[..., Any], value: Tensor, change: Tensor, limit: bool = False
) -> tuple[Tensor, Tensor]:
    """The change of a function's result, exact at any strength.

    Args:
        function: any function of a tensor that is made of operations with a rule, or a module.
        value: the clean argument.
        change: that is made to it, of the same shape; float64 for full precision.
        limit: leave out products of changes: the derivative of the function applied to `change`.

    Returns:
        function(value), and function(value + change) - function(value).

    Raises:
        NoRule: an operation has no rule (and is not inside a module that can be run by itself).
        ValueError: the shapes differ, or the result does not depend on the argument.
    """
    if value.shape != change.shape:
        raise ValueError(
            f"change: its shape {tuple(change.shape)} is not that of value, {tuple(value.shape)}"
        )
    from universal_response.propagation.modules import carrying  # the modules' rules use these

    inside: AbstractContextManager[Any] = nullcontext()
    if isinstance(function, torch.nn.Module):
        inside = carrying(function)
    with torch.no_grad(), inside:
        found = function(Carried(value, change, Terms(limit)))
    if not isinstance(found, Carried):
        raise ValueError("function: its result does not depend on the argument")
    return found.value, found.change


def value_of(argument: Any) -> Any:
    """The clean value of an argument, also within lists and tuples."""
    if isinstance(argument, Carried):
        return argument.value
    if isinstance(argument, list | tuple):
        return type(argument)(value_of(each) for each in argument)
    return argument


def change_of(argument: Any) -> Any:
    """The change of an argument, also within lists and tuples; other arguments as they are."""
    if isinstance(argument, Carried):
        return argument.change
    if isinstance(argument, list | tuple):
        return type(argument)(change_of(each) for each in argument)
    return argument


def find(*arguments: Any) -> Carried:
    """The first carried tensor among the arguments."""
    for argument in arguments:
        if isinstance(argument, Carried):
            return argument
        if isinstance(argument, list | tuple):
            for each in argument:
                if isinstance(each, Carried):
                    return each
    raise TypeError("no argument carries a change")


def by_rows(
    shape: torch.Size, device: torch.device, function: Callable[[slice], Tensor]
) -> Tensor:
    """Evaluate a rule that treats rows alike, on some rows after others on a processor.

    Args:
        shape: of the result, (..., width).
        device: of the result.
        function: called with rows, gives their results (row, width).
    """
    n_rows = shape[:-1].numel()
    size = max(NUMBERS_AT_A_TIME // shape[-1], 1) if device.type == "cpu" else max(n_rows, 1)
    parts = [function(slice(at, min(at + size, n_rows))) for at in range(0, n_rows, size)]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(shape)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def computed(
    carried: Carried, function: Callable[[Tensor], tuple[Tensor, ...]]
) -> Sequence[Tensor | Rows]:
    """What a function makes of the clean value, by rows (row, width)."""
    if isinstance(carried._value, Rows):
        return carried._value.computed(function)
    return function(_flat(carried.value))


# the table ----------------------------------------------------------------------------------------


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Enter a rule, called as rule(function, *arguments, **named), for these functions."""

    def enter(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, made))
        return made

    return enter


_T, _F = torch.Tensor, torch.nn.functional
# In-place functions by those that make a new tensor.
_IN_PLACE = {
    **{_T.add_: _T.add, _T.sub_: _T.sub, _T.mul_: _T.mul, _T.div_: _T.div},
    **{_T.__iadd__: _T.add, _T.__isub__: _T.sub, _T.__imul__: _T.mul, _T.__itruediv__: _T.div},
    **{_T.clamp_: _T.clamp, _T.masked_fill_: _T.masked_fill},
}


@rule(
    *(getattr(_T, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_cuda")),
    *(getattr(_T, name).__get__ for name in ("requires_grad", "layout", "is_nested", "is_mps")),
    *(getattr(_T, name).__get__ for name in ("is_sparse", "is_quantized", "is_meta", "grad_fn")),
    *(_T.size, _T.dim, _T.numel, _T.is_floating_point, _T.is_complex, _T.__len__, _T.nelement),
    *(_T.element_size, _T.stride, _T.ndimension, _T.is_contiguous, torch.is_floating_point),
    torch.is_tensor,
)
def _metadata(function: Any, *arguments: Any, **named: Any) -> Any:
    return function(*arguments, **named)


@rule(
    *(_T.view, _T.reshape, _T.view_as, _T.flatten, _T.unflatten, _T.squeeze, _T.unsqueeze),
    *(_T.transpose, _T.permute, _T.expand, _T.expand_as, _T.contiguous, _T.clone, _T.detach),
    *(_T.__getitem__, _T.mean, _T.sum, _T.neg, _T.__neg__, _T.narrow, _T.index_select, _T.select),
    *(_T.repeat, _T.repeat_interleave, _T.movedim, _T.swapaxes, _T.roll, _T.flip, _T.gather),
    *(_T.T.__get__, _T.mT.__get__, _T.tril, _T.triu, _T.cumsum, _T.diagonal),
    *(torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze, torch.transpose),
    *(torch.permute, torch.mean, torch.sum, torch.neg, torch.index_select, torch.movedim),
    *(torch.repeat_interleave, torch.roll, torch.flip, torch.tril, torch.triu, torch.cumsum),
    *(torch.narrow, torch.select, torch.gather, torch.clone, torch.swapaxes, torch.diagonal),
    _F.pad,
)
def _linear_in_one(function: Any, *arguments: Any, **named: Any) -> Carried:
    """The same function of the change: it is linear, and its only argument is the carried one."""
    carried = find(*arguments, *named.values())
    found = _made(function, function(*change_of(arguments), **named), arguments, named, carried)
    if found.change.untyped_storage().data_ptr() == carried.change.untyped_storage().data_ptr():
        carried.shared = found.shared = True
    return found


@rule(_T.chunk, _T.split, _T.unbind, _T.tensor_split, torch.chunk, torch.split, torch.unbind)
def _linear_in_parts(function: Any, *arguments: Any, **named: Any) -> tuple[Carried, ...]:
    carried = find(*arguments)
    changes = function(*change_of(arguments), **named)
    # One evaluation of the value serves all parts.
    values: list[Sequence[Tensor]] = []

    def value(part: int) -> Tensor:
        if not values:
            values.append(function(*value_of(arguments), **named))
        return values[0][part]

    return tuple(
        Carried(lambda part=part: value(part), change, carried.terms, carried.dtype)
        for part, change in enumerate(changes)
    )


@rule(torch.cat, torch.stack, torch.concat)
def _joined(function: Any, tensors: Sequence[Tensor], *others: Any, **named: Any) -> Carried:
    carried = find(tensors)
    like = carried.change
    changes = [
        each.change if isinstance(each, Carried) else torch.zeros_like(each, dtype=like.dtype)
        for each in tensors
    ]
    found = function(changes, *others, **named)
    return _made(function, found, (tensors, *others), named, carried)


@rule(_T.to, _T.type, _T.float, _T.double, _T.half, _T.bfloat16, _T.type_as)
def _cast(function: Any, carried: Carried, *arguments: Any, **named: Any) -> Carried:
    """Another type for the value; a change keeps its own, which is the more precise one."""
    like = torch.empty(0, dtype=carried.dtype, device=carried.device)
    plain = [torch.empty(0, dtype=a.dtype) if isinstance(a, Tensor) else a for a in arguments]
    dtype = function(like, *plain, **named).dtype
    return Carried(carried._value, carried._change, carried.terms, dtype)


@rule(_F.dropout)
def _dropout(
    function: Any, carried: Carried, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Carried:
    if training and p > 0:
        raise NoRule("dropout: draws at random in training; use model.eval()")
    return carried


@rule(_T.add, _T.__add__, _T.__radd__, torch.add)
def _sum(function: Any, x: Any, y: Any, alpha: float = 1) -> Carried:
    return _added(x, y, alpha, lambda: torch.add(value_of(x), value_of(y), alpha=alpha))


@rule(_T.sub, _T.__sub__, torch.sub)
def _difference(function: Any, x: Any, y: Any, alpha: float = 1) -> Carried:
    return _added(x, y, -alpha, lambda: torch.sub(value_of(x), value_of(y), alpha=alpha))


@rule(_T.__rsub__, torch.rsub)
def _difference_turned(function: Any, x: Any, y: Any) -> Carried:
    return _difference(torch.sub, y, x)


def _added(x: Any, y: Any, alpha: float, value: Callable[[], Tensor]) -> Carried:
    carried = find(x, y)
    if isinstance(x, Carried) and isinstance(y, Carried):
        change = torch.add(x.change, y.change, alpha=alpha)
    else:
        change = carried.change if carried is x or alpha == 1 else carried.change * alpha
        other = y if carried is x else x
        if isinstance(other, Tensor):
            change = change.expand(torch.broadcast_shapes(change.shape, other.shape))
    return Carried(value, change, carried.terms, _dtype(x, y))


@rule(_T.mul, _T.__mul__, _T.__rmul__, torch.mul, torch.multiply)
def _product(function: Any, x: Any, y: Any) -> Carried:
    carried = find(x, y)
    terms, value = carried.terms, lambda: torch.mul(value_of(x), value_of(y))
    if not (isinstance(x, Carried) and isinstance(y, Carried)):
        return Carried(value, torch.mul(change_of(x), change_of(y)), terms, _dtype(x, y))
    pending, other = (x, y) if isinstance(x._change, Pending) else (y, x)
    if isinstance(pending._change, Pending) and pending.shape == other.shape:
        change = _gated(pending._change, other)
    else:
        change = rules.product(x.value, x.change, y.value, y.change, terms.limit)
    return Carried(value, change, terms, _dtype(x, y))


def _gated(pending: Pending, other: Carried) -> Tensor:
    """Change of an activation times another tensor, as in a gated MLP, in one go."""
    limit, dy, dx = other.terms.limit, _flat(other.change), pending.of_rows
    x, (y,) = pending.saved[3], computed(other, _itself)

    def of_rows(rows: slice) -> Tensor:
        return rules.product(x[rows], dx(rows), y[rows], dy[rows], limit)

    return by_rows(other.shape, other.device, of_rows)


def _itself(v: Tensor) -> tuple[Tensor, ...]:
    return (v,)


@rule(_T.div, _T.__truediv__, _T.__rtruediv__, torch.div, torch.true_divide)
def _quotient(function: Any, x: Any, y: Any) -> Carried:
    if function is _T.__rtruediv__:
        x, y = y, x
    carried = find(x, y)
    terms, value = carried.terms, lambda: torch.div(value_of(x), value_of(y))
    if not isinstance(y, Carried):
        return Carried(value, torch.div(x.change, y), terms, _dtype(x, y))
    dx = x.change if isinstance(x, Carried) else torch.zeros_like(y.change)
    change = rules.quotient(value_of(x), dx, y.value, y.change, terms.limit)
    return Carried(value, change, terms, _dtype(x, y))


@rule(_T.clamp, torch.clamp, _T.clip, torch.clip)
def _clamp(
    function: Any, carried: Carried, min: float | None = None, max: float | None = None
) -> Carried:
    low, high = (-math.inf if min is None else min), (math.inf if max is None else max)
    change = rules.clamp(carried.value, carried.change, low, high, carried.terms.limit)
    return _made(torch.clamp, change, (carried, low, high), {}, carried)


@rule(_T.square, torch.square)
def _square(function: Any, carried: Carried) -> Carried:
    return _elementwise(function, rules.square, carried)


@rule(_T.pow, _T.__pow__, torch.pow)
def _power(function: Any, carried: Carried, exponent: float) -> Carried:
    known = {2: rules.square, 3: rules.cube}
    if isinstance(exponent, Tensor) or exponent not in known:
        raise NoRule(f"pow: no rule for the change of the power {exponent}")
    return _elementwise(lambda v: v**exponent, known[exponent], carried)


def _elementwise(function: Any, formula: Rule, carried: Carried) -> Carried:
    change = formula(carried.value, carried.change, carried.terms.limit)
    return Carried(lambda: function(carried.value), change, carried.terms, carried.dtype)


@rule(_T.sigmoid, torch.sigmoid, _F.sigmoid)
def _sigmoid(function: Any, carried: Carried) -> Carried:
    return _elementwise(torch.sigmoid, rules.sigmoid, carried)


@rule(_T.tanh, torch.tanh, _F.tanh)
def _tanh(function: Any, carried: Carried) -> Carried:
    return _elementwise(torch.tanh, rules.tanh, carried)


@rule(_T.relu, torch.relu, _F.relu)
def _relu(function: Any, carried: Carried, inplace: bool = False) -> Carried:
    return _elementwise(torch.relu, rules.relu, carried)


@rule(_F.silu)
def _silu(function: Any, carried: Carried, inplace: bool = False) -> Carried:
    return activated(rules.SILU, carried)


@rule(_F.gelu)
def _gelu(function: Any, carried: Carried, *, approximate: str = "none") -> Carried:
    if approximate == "tanh":
        return activated(rules.GELU_TANH, carried)
    return _elementwise(_F.gelu, rules.gelu, carried)


def activated(activation: SelfGated, carried: Carried) -> Carried:
    """A self-gated activation of a carried tensor."""

    def value() -> Tensor:
        return activation.value(carried.value)

    return Carried(value, Pending(activation, carried), carried.terms, carried.dtype)


@rule(_T.softmax, torch.softmax, _F.softmax)
def _softmax(
    function: Any, carried: Carried, dim: int | None = None, dtype: Any = None, **_: Any
) -> Carried:
    if dim is None:
        raise NoRule("softmax: give the dimension")
    scores = carried.value.movedim(dim, -1)
    weights = torch.softmax(scores, -1)
    change = rules.softmax(scores, weights, carried.change.movedim(dim, -1), carried.terms.limit)
    found = (each.movedim(-1, dim) for each in (weights, change))
    return Carried(*found, carried.terms, dtype or carried.dtype)


@rule(_T.masked_fill, torch.masked_fill)
def _masked_fill(function: Any, carried: Carried, mask: Tensor, value: float) -> Carried:
    change = carried.change.masked_fill(mask, 0)
    return _made(function, change, (carried, mask, value), {}, carried)


@rule(torch.where, _T.where)
def _where(function: Any, condition: Tensor, x: Any, y: Any) -> Carried:
    if isinstance(condition, Carried):
        raise NoRule("where: no rule for a condition that changes")
    carried = find(x, y)
    zero = torch.zeros((), dtype=carried.change.dtype, device=carried.device)
    dx, dy = (each.change if isinstance(each, Carried) else zero for each in (x, y))
    return _made(function, torch.where(condition, dx, dy), (condition, x, y), {}, carried)


@rule(_T.matmul, _T.__matmul__, _T.bmm, torch.matmul, torch.bmm, torch.einsum)
def _multilinear(function: Any, *arguments: Any) -> Carried:
    """f(x', y') - f(x, y) = f(dx, y) + f(x', dy) for a function linear in each of two."""
    carried = find(*arguments)
    places = [k for k, each in enumerate(arguments) if isinstance(each, Carried)]
    if len(places) > 2:
        raise NoRule("einsum: no rule for more than two factors that change")
    change = None
    for k in places:
        # Factors before this one are changed already, those after it are clean yet.
        factors = [_factor(a, at - k, carried) for at, a in enumerate(arguments)]
        part = function(*factors)
        change = part if change is None else change + part
    assert change is not None
    return _made(function, change, arguments, {}, carried)


def _factor(argument: Any, after: int, carried: Carried) -> Any:
    if not isinstance(argument, Carried):
        dtype = carried.change.dtype
        return argument.to(dtype) if isinstance(argument, Tensor) else argument
    if after == 0:
        return argument.change
    if after > 0 or argument.terms.limit:
        return argument.value
    return argument.value + argument.change


@rule(*_IN_PLACE)
def _in_place(function: Any, carried: Any, *arguments: Any, **named: Any) -> Carried:
    if not isinstance(carried, Carried) or carried.shared:
        raise NoRule(f"{function.__name__}: no rule for writing into a tensor that others may share")
    before = Carried(carried._value, carried._change, carried.terms, carried.dtype)
    found = apply(_IN_PLACE[function], before, *arguments, **named)
    carried.put(found._value, found._change)
    return carried


@rule(_T.baddbmm, torch.baddbmm, _T.addmm, torch.addmm)
def _product_added(
    function: Any, x: Any, batch1: Any, batch2: Any, *, beta: float = 1, alpha: float = 1
) -> Carried:
    product = apply(torch.mul, apply(torch.matmul, batch1, batch2), alpha)
    return apply(torch.add, apply(torch.mul, x, beta), product)


@rule(_F.linear)
def _linear(function: Any, carried: Any, weight: Tensor, bias: Tensor | None = None) -> Carried:
    if isinstance(weight, Carried) or isinstance(bias, Carried):
        raise NoRule("linear: no rule for weights that change")
    change = _F.linear(carried.change, weight.to(carried.change.dtype))
    return _made(function, change, (carried, weight, bias), {}, carried)


@rule(_F.layer_norm)
def _layer_norm(
    function: Any,
    carried: Carried,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Carried:
    change = norm_change(carried, eps, weight, centred=True)
    return _made(function, change, (carried, normalized_shape, weight, bias, eps), {}, carried)


def norm_change(carried: Carried, constant: float, gain: Tensor | None, centred: bool) -> Tensor:
    """Change of a norm over the last dimension."""
    change, limit = _flat(carried.change), carried.terms.limit
    gain = None if gain is None else gain.to(change.dtype)
    if carried.exact is not None:
        rows, x, d = carried.exact
        found = torch.zeros_like(change)
        found[rows] = _normalised(x, d, constant, centred, limit).to(found.dtype)
        return (found if gain is None else found.mul_(gain)).view(carried.shape)
    (clean,) = computed(carried, _itself)
    moments = None if centred else carried.moments
    if moments is not None:
        m, a, p = moments
        r, b = rules.norm_factors(m, a, 0.0, p, constant, limit)
        # r w + b x, with w = d - a x.
        b = b - r * a

    def of_rows(rows: slice) -> Tensor:
        x, d = clean[rows].to(change.dtype), change[rows]
        if moments is None:
            found = _normalised(x, d, constant, centred, limit)
        else:
            found = torch.mul(d, r[rows]).addcmul_(x, b[rows])
        return found if gain is None else found.mul_(gain)

    return by_rows(carried.shape, carried.device, of_rows)


def _normalised(x: Tensor, d: Tensor, constant: float, centred: bool, limit: bool) -> Tensor:
    x = x.to(d.dtype)
    if centred:
        x, d = (each - each.mean(-1, keepdim=True) for each in (x, d))
    return rules.normalised(x, d, constant, limit)


@rule(_F.scaled_dot_product_attention)
def _attention(
    function: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Carried:
    """Scores, softmax and mixing step by step, by their own rules."""
    carried = find(query, key, value)
    if enable_gqa:
        n = query.shape[-3] // key.shape[-3]
        key, value = (apply(_T.repeat_interleave, each, n, -3) for each in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if is_causal:
        shape = (query.shape[-2], key.shape[-2])
        attn_mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril()
    scores = apply(torch.matmul, apply(torch.mul, query, scale), apply(_T.mT.__get__, key))
    if attn_mask is not None:
        seen = attn_mask.dtype == torch.bool
        mask = torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, -torch.inf) \
            if seen else attn_mask
        scores = apply(torch.add, scores, mask)
    return apply(torch.matmul, apply(torch.softmax, scores, -1), value)


def apply(function: Any, *arguments: Any, **named: Any) -> Any:
    """A function within a rule: by its own rule where an argument carries a change."""
    if any(isinstance(each, Carried) for each in arguments):
        return RULES[function](function, *arguments, **named)
    return function(*arguments, **named)


def _made(
    function: Any, change: Tensor, arguments: Sequence[Any], named: dict[str, Any], like: Carried
) -> Carried:
    """The result of a function: its change, and its value once it is asked for."""

    def value() -> Tensor:
        return function(*value_of(tuple(arguments)), **named)

    return Carried(value, change, like.terms, like.dtype)


def _dtype(*arguments: Any) -> torch.dtype:
    kept = [a.dtype for a in arguments if isinstance(a, Tensor) and a.ndim > 0]
    found = kept[0] if kept else find(*arguments).dtype
    for dtype in kept[1:]:
        found = torch.promote_types(found, dtype)
    return found
