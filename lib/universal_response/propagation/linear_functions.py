"""Rules of functions that are linear in one argument: views, joins, casts, masks.

The change of the result is the function of the change.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.change import Carried, NoRule, rule
from universal_response.propagation.entries import apply, change_of, find, made, now, value_of
from universal_response.propagation.rules import Number

_T, _F = torch.Tensor, torch.nn.functional


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
    *(getattr(_T, name).__get__ for name in ("T", "mT")),
    *(_T.tril, _T.triu, _T.cumsum, _T.diagonal),
    *(torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze, torch.transpose),
    *(torch.permute, torch.mean, torch.sum, torch.neg, torch.index_select, torch.movedim),
    *(torch.repeat_interleave, torch.roll, torch.flip, torch.tril, torch.triu, torch.cumsum),
    *(torch.narrow, torch.select, torch.gather, torch.clone, torch.swapaxes, torch.diagonal),
)
def _linear_in_one(function: Any, *arguments: Any, **named: Any) -> Any:
    """The same function of the change; in fewer digits only in name, as for a cast."""
    if not isinstance(arguments[0], Carried):
        # Brought into the shape of a carried tensor: nothing of it changes.
        return function(*change_of(arguments), **named)
    carried, dtype = arguments[0], named.pop("dtype", None)
    change = function(*change_of(arguments), **named)
    found = made(function, change, arguments, named, carried, dtype)
    if found.change.untyped_storage().data_ptr() == carried.change.untyped_storage().data_ptr():
        carried.shared = found.shared = True
    return found


@rule(_T.chunk, _T.split, _T.unbind, _T.tensor_split, torch.chunk, torch.split, torch.unbind)
def _linear_in_parts(function: Any, *arguments: Any, **named: Any) -> tuple[Carried, ...]:
    carried = find(*arguments)
    changes = function(*change_of(arguments), **named)
    clean = now(arguments)
    # One evaluation of the value serves all parts.
    values = functools.cache(lambda: function(*value_of(clean), **named))
    found = tuple(
        Carried(lambda part=part: values()[part], change, carried.terms, carried.dtype)
        for part, change in enumerate(changes)
    )
    for each in (carried, *found):
        each.shared = True
    return found


@rule(_F.pad)
def _padded(
    function: Any, carried: Carried, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> Carried:
    change = function(carried.change, pad, mode)
    return made(function, change, (carried, pad, mode, value), {}, carried)


@rule(torch.cat, torch.stack, torch.concat)
def _joined(function: Any, tensors: Sequence[Tensor], *others: Any, **named: Any) -> Carried:
    carried = find(tensors)
    like = carried.change
    changes = [
        each.change if isinstance(each, Carried) else torch.zeros_like(each, dtype=like.dtype)
        for each in tensors
    ]
    found = function(changes, *others, **named)
    return made(function, found, (tensors, *others), named, carried)


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty(0, dtype=tensor.dtype, device=tensor.device)


@rule(_T.to, _T.type, _T.float, _T.double, _T.half, _T.bfloat16, _T.type_as)
def _cast(function: Any, carried: Tensor, *arguments: Any, **named: Any) -> Tensor:
    """Another type for the value; a change keeps its own, which is the more precise one."""
    plain = [_empty_like(a) if isinstance(a, Tensor) else a for a in arguments]
    if not isinstance(carried, Carried):
        return function(carried, *plain, **named)
    dtype = function(_empty_like(carried), *plain, **named).dtype
    if dtype == carried.dtype:
        return carried
    if not dtype.is_floating_point:
        raise NoRule(f"{function.__name__}: no rule for whole numbers that change")
    found = Carried.of(carried.pair, carried.terms, dtype)
    # For a norm that casts first.
    found.exact, found.moments = carried.exact, carried.moments
    return found


@rule(_F.dropout)
def _dropout(
    function: Any, carried: Carried, p: Number = 0.5, training: bool = True, inplace: bool = False
) -> Carried:
    if training and p > 0:
        raise NoRule("dropout: draws at random in training; use model.eval()")
    return carried


@rule(_T.masked_fill, torch.masked_fill)
def _masked_fill(function: Any, carried: Any, mask: Tensor, value: Any) -> Carried:
    if isinstance(value, Tensor):
        return apply(torch.where, mask, value, carried)
    change = carried.change.masked_fill(mask, 0)
    return made(function, change, (carried, mask, value), {}, carried)


@rule(torch.where, _T.where)
def _where(function: Any, condition: Any, x: Any, y: Any) -> Carried:
    if function is _T.where:
        condition, x = x, condition
    if isinstance(condition, Carried):
        raise NoRule("where: no rule for a condition that changes")
    carried = find(x, y)
    zero = torch.zeros((), dtype=carried.change.dtype, device=carried.device)
    dx, dy = (each.change if isinstance(each, Carried) else zero for each in (x, y))
    return made(torch.where, torch.where(condition, dx, dy), (condition, x, y), {}, carried)
