"""A tensor that carries a value and its change through the code of a model.

`Carried` is a `torch.Tensor` to whoever computes with it. Every function applied to it is looked
up in a table, `RULES`: it applies the function to the value and the function's rule to the change.
A function without a rule raises `NoRule`; nothing passes silently. Values are computed only where
a rule asks for them: most are known already from the clean pass (`Rows`).
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.rows import Parts, RowRule, Rows, WeakRule, by_rows
from universal_response.propagation.rules import SelfGated

Rule = Callable[..., Any]
RULES: dict[Callable[..., Any], Rule] = {}


class NoRule(NotImplementedError):
    """A function, applied to a carried change, whose rule is not known."""


@dataclass(frozen=True)
class Terms:
    """How changes are carried: exactly, or in the limit of weak ones.

    Attributes:
        limit: leave out products of changes.
        index: of every row of a pass, its token in the tables of clean values; None without those.
        compiled: whether rules on rows are compiled (`rows.by_rows`).
    """

    limit: bool = False
    index: Tensor | None = None
    compiled: bool = False


@dataclass(frozen=True)
class Pending:
    """A self-gated activation that is computed with what comes next, part by part."""

    activation: SelfGated
    gate: "Pair"
    terms: Terms

    @property
    def saved(self) -> Sequence[Rows]:
        """Of the clean value of the gate, by rows."""
        return computed(self.gate, self.activation.saved)

    def evaluated(self) -> Tensor:
        """The change of the activation."""
        rule, weak = _activation(self.activation, self.terms.limit)
        changes = [flat(self.gate.change)]
        found = by_rows(rule, self.saved, changes, self.terms.compiled, weak)
        return found.view(self.gate.shape)


@functools.cache
def _activation(activation: SelfGated, limit: bool) -> tuple[RowRule, WeakRule]:
    def rule(clean: Parts, changes: Sequence[Tensor]) -> Tensor:
        return activation.change(clean, changes[0], limit)

    def weak(clean: Parts, changes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        found, grown = activation.weak_change(clean, changes[0], limit)
        return found, activation.is_strong(grown)

    return rule, weak


class Pair:
    """A value and its change, each computed when it is first asked for."""

    def __init__(
        self, value: Tensor | Rows | Callable[[], Tensor], change: Tensor | Pending
    ) -> None:
        self._value, self._change = value, change
        like: Any = change.gate if isinstance(change, Pending) else change
        # The dtype is that of the change.
        self.shape: torch.Size = like.shape
        self.dtype: torch.dtype = like.dtype
        self.device: torch.device = like.device

    @property
    def rows(self) -> Rows | None:
        """The value, where it is known by rows."""
        return self._value if isinstance(self._value, Rows) else None

    @property
    def value(self) -> Tensor:
        """The clean value, in the dtype of the change at least."""
        if isinstance(self._value, Rows):
            self._value = self._value[slice(None)].view(self.shape)
        elif callable(self._value):
            self._value = self._value()
        found = self._value
        return found.to(self.dtype) if found.is_floating_point() else found

    @property
    def pending(self) -> Pending | None:
        """The activation that gives the change, where that is not computed yet."""
        return self._change if isinstance(self._change, Pending) else None

    @property
    def change(self) -> Tensor:
        if isinstance(self._change, Pending):
            self._change = self._change.evaluated()
        return self._change


class Carried(torch.Tensor):
    """A value and its change."""

    terms: Terms
    # Exchanged as a whole where something is written into the tensor.
    pair: Pair
    # Rows, their values and changes in full precision, where no other row changes.
    exact: tuple[Tensor, Tensor, Tensor] | None = None
    # Of every row mean x^2, (x.d) / (x.x) and mean w^2 of the part w perpendicular to x, (row, 1).
    moments: tuple[Tensor, Tensor, Tensor] | None = None
    # Whether its numbers may be those of another tensor as well.
    shared: bool = False

    @staticmethod
    def __new__(
        cls: type["Carried"],
        value: Tensor | Rows | Callable[[], Tensor],
        change: Tensor | Pending,
        terms: Terms,
        dtype: torch.dtype | None = None,
    ) -> "Carried":
        return cls.of(Pair(value, change), terms, dtype)

    @classmethod
    def of(cls, pair: Pair, terms: Terms, dtype: torch.dtype | None = None) -> "Carried":
        made = torch.Tensor._make_wrapper_subclass(
            cls, pair.shape, dtype=dtype or pair.dtype, device=pair.device
        )
        made.pair, made.terms = pair, terms
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Carried(shape={tuple(self.shape)}, dtype={self.dtype}, terms={self.terms})"

    @property
    def value(self) -> Tensor:
        return self.pair.value

    @property
    def change(self) -> Tensor:
        return self.pair.change

    def become(self, pair: Pair) -> None:
        """Carry another pair, for all who hold this tensor."""
        self.pair = pair
        self.moments = self.exact = None

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        rule, named = RULES.get(func), kwargs or {}
        name = getattr(func, "__qualname__", func)
        if rule is None:
            raise NoRule(f"{name}: no rule for its change")
        try:
            with torch._C.DisableTorchFunctionSubclass():
                return rule(func, *args, **named)
        except TypeError as error:
            if _takes(rule, func, *args, **named):
                raise
            raise NoRule(f"{name}: no rule with such arguments ({error})") from None

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: Any = None
    ) -> Any:
        raise NoRule(f"{func}: no rule for its change")


def _takes(rule: Rule, *arguments: Any, **named: Any) -> bool:
    try:
        inspect.signature(rule).bind(*arguments, **named)
    except TypeError:
        return False
    return True


def now(argument: Any) -> Any:
    """An argument as it is before anything is written into it, also within lists and tuples."""
    if isinstance(argument, Carried):
        return argument.pair
    if isinstance(argument, list | tuple):
        return type(argument)(now(each) for each in argument)
    return argument


def value_of(argument: Any) -> Any:
    """The clean value of an argument, also within lists and tuples."""
    if isinstance(argument, Carried | Pair):
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


def flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def itself(v: Tensor) -> tuple[Tensor, ...]:
    """For `computed`: the clean value as it is."""
    return (v,)


def computed(
    carried: Carried | Pair, function: Callable[[Tensor], tuple[Tensor, ...]]
) -> Sequence[Rows]:
    """What a function makes of the clean value, by rows (row, width)."""
    pair = carried.pair if isinstance(carried, Carried) else carried
    rows = pair.rows or Rows(flat(pair.value), None)
    return rows.computed(function)


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Enter a rule, called as rule(function, *arguments, **named), for these functions."""

    def enter(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, made))
        return made

    return enter


def apply(function: Any, *arguments: Any, **named: Any) -> Any:
    """A function within a rule: by its own rule where an argument carries a change."""
    if any(isinstance(each, Carried) for each in arguments):
        return RULES[function](function, *arguments, **named)
    return function(*arguments, **named)


def made(
    function: Any,
    change: Tensor | Pending,
    arguments: Sequence[Any],
    named: dict[str, Any],
    like: Carried,
    dtype: torch.dtype | None = None,
) -> Carried:
    """The result of a function: its change, and its value once it is asked for."""
    clean = now(tuple(arguments))

    def value() -> Tensor:
        return function(*value_of(clean), **named)

    return Carried(value, change, like.terms, dtype or like.dtype)


def written(function: Any, carried: Any, found: Carried) -> Carried:
    """What a function that writes into its argument gives: the argument, with another content.

    Raises:
        NoRule: the argument carries no change, or is a view or has one, which would change too.
    """
    if not isinstance(carried, Carried) or carried.shared:
        raise NoRule(
            f"{function.__name__}: no rule for writing into a tensor that others may share"
        )
    carried.become(found.pair)
    return carried


def dtype_of(*arguments: Any) -> torch.dtype:
    kept = [a.dtype for a in arguments if isinstance(a, Tensor) and a.ndim > 0]
    found = kept[0] if kept else find(*arguments).dtype
    for dtype in kept[1:]:
        found = torch.promote_types(found, dtype)
    return found
