"""Rules of sums, products and powers of tensors that change."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation import rules
from universal_response.propagation.change import Carried, NoRule, Rule, rule
from universal_response.propagation.entries import (
    apply,
    change_of,
    dtype_of,
    find,
    made,
    value_of,
    written,
)
from universal_response.propagation.pair import Pending, computed, flat, itself
from universal_response.propagation.rows import Parts, RowRule, WeakRule, by_rows
from universal_response.propagation.rules import Number, SelfGated

_T, _F = torch.Tensor, torch.nn.functional
# In-place functions by those that make a new tensor.
_IN_PLACE: dict[Any, Any] = {
    **{_T.add_: _T.add, _T.sub_: _T.sub, _T.mul_: _T.mul, _T.div_: _T.div},
    **{_T.__iadd__: _T.add, _T.__isub__: _T.sub, _T.__imul__: _T.mul, _T.__itruediv__: _T.div},
    **{_T.clamp_: _T.clamp, _T.masked_fill_: _T.masked_fill},
}


@rule(_T.add, _T.__add__, _T.__radd__, torch.add)
def _sum(function: Any, x: Any, y: Any, alpha: Number = 1) -> Carried:
    return _added(torch.add, x, y, alpha, alpha)


@rule(_T.sub, _T.__sub__, torch.sub)
def _difference(function: Any, x: Any, y: Any, alpha: Number = 1) -> Carried:
    return _added(torch.sub, x, y, alpha, -alpha)


@rule(_T.__rsub__, torch.rsub)
def _difference_turned(function: Any, x: Any, y: Any) -> Carried:
    return _difference(torch.sub, y, x)


def _added(function: Any, x: Any, y: Any, alpha: Number, factor: Number) -> Carried:
    carried = find(x, y)
    if isinstance(x, Carried) and isinstance(y, Carried):
        change = torch.add(x.change, y.change, alpha=factor)
    else:
        change = carried.change if carried is x or factor == 1 else carried.change * factor
        other = y if carried is x else x
        if isinstance(other, Tensor):
            change = change.expand(torch.broadcast_shapes(change.shape, other.shape))
    return made(function, change, (x, y), {"alpha": alpha}, carried, dtype_of(x, y))


@rule(_T.mul, _T.__mul__, _T.__rmul__, torch.mul, torch.multiply)
def _product(function: Any, x: Any, y: Any) -> Carried:
    carried = find(x, y)
    if isinstance(x, Carried) and isinstance(y, Carried):
        activation, other = (x, y) if x.pair.pending else (y, x)
        if activation.pair.pending and activation.shape == other.shape:
            change = _gated(activation.pair.pending, other)
        else:
            change = rules.product(x.value, x.change, y.value, y.change, carried.terms.limit)
    else:
        change = torch.mul(change_of(x), change_of(y))
    return made(torch.mul, change, (x, y), {}, carried, dtype_of(x, y))


def _gated(pending: Pending, other: Carried) -> Tensor:
    """Change of an activation times another tensor, as in a gated MLP, in one go."""
    terms = other.terms
    rule, weak = _gated_rules(pending.activation, terms.limit)
    clean = [*pending.saved, *computed(other.pair, itself)]
    changes = [flat(pending.gate.change), flat(other.change)]
    if len({each.index is None for each in clean}) > 1:
        clean = [each.gathered for each in clean]
    return by_rows(rule, clean, changes, terms.compiled, weak).view(other.shape)


@cache
def _gated_rules(activation: SelfGated, limit: bool) -> tuple[RowRule, WeakRule]:
    def rule(clean: Parts, changes: Sequence[Tensor]) -> Tensor:
        dx = activation.change(clean, changes[0], limit)
        return rules.product(clean(3), dx, clean(4), changes[1], limit)

    def weak(clean: Parts, changes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        dx, grown = activation.weak_change(clean, changes[0], limit)
        found = rules.product(clean(3), dx, clean(4), changes[1], limit)
        return found, activation.is_strong(grown)

    return rule, weak


@rule(_T.div, _T.__truediv__, _T.__rtruediv__, torch.div, torch.true_divide)
def _quotient(function: Any, x: Any, y: Any) -> Carried:
    if function is _T.__rtruediv__:
        x, y = y, x
    carried = find(x, y)
    if isinstance(y, Carried):
        dx = x.change if isinstance(x, Carried) else torch.zeros_like(y.change)
        change = rules.quotient(value_of(x), dx, y.value, y.change, carried.terms.limit)
    else:
        change = torch.div(x.change, y)
    return made(torch.div, change, (x, y), {}, carried, dtype_of(x, y))


@rule(_T.clamp, torch.clamp, _T.clip, torch.clip)
def _clamp(
    function: Any, carried: Carried, min: Number | None = None, max: Number | None = None
) -> Carried:
    low, high = (-math.inf if min is None else min), (math.inf if max is None else max)
    change = rules.clamp(carried.value, carried.change, low, high, carried.terms.limit)
    return made(torch.clamp, change, (carried, low, high), {}, carried)


@rule(_T.square, torch.square)
def _square(function: Any, carried: Carried) -> Carried:
    return elementwise(function, rules.square, carried)


@rule(_T.pow, _T.__pow__, torch.pow)
def _power(function: Any, carried: Carried, exponent: Number) -> Carried:
    known: dict[Number, Rule] = {2: rules.square, 3: rules.cube}
    if isinstance(exponent, Tensor) or exponent not in known:
        raise NoRule(f"pow: no rule for the change of the power {exponent}")
    return elementwise(lambda v: v**exponent, known[exponent], carried)


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
    return made(function, change, arguments, {}, carried)


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
    return written(function, carried, apply(_IN_PLACE[function], carried, *arguments, **named))


@rule(_T.baddbmm, torch.baddbmm, _T.addmm, torch.addmm)
def _product_added(
    function: Any, x: Any, batch1: Any, batch2: Any, *, beta: Number = 1, alpha: Number = 1
) -> Carried:
    product = apply(torch.mul, apply(torch.matmul, batch1, batch2), alpha)
    return apply(torch.add, apply(torch.mul, x, beta), product)


@rule(_F.linear)
def _linear(function: Any, carried: Any, weight: Tensor, bias: Tensor | None = None) -> Carried:
    if isinstance(weight, Carried) or isinstance(bias, Carried):
        raise NoRule("linear: no rule for weights that change")
    change = _F.linear(carried.change, weight.to(carried.change.dtype))
    return made(function, change, (carried, weight, bias), {}, carried)


def elementwise(function: Any, formula: Rule, carried: Carried) -> Carried:
    change = formula(carried.value, carried.change, carried.terms.limit)
    return made(function, change, (carried,), {}, carried)
