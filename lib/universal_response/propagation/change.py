"""A tensor that carries a value and its change through the code of a model.

`Carried` is a `torch.Tensor` to whoever computes with it. Every function applied to it is looked
up in a table, `RULES`: it applies the function to the value and the function's rule to the change.
A function without a rule raises `NoRule`; nothing passes silently. Values are computed only where
a rule asks for them: most are known already from the clean pass (`Rows`).
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.pair import Pair, Pending, Terms
from universal_response.propagation.rows import Rows

Rule = Callable[..., Any]

RULES: dict[Callable[..., Any], Rule] = {}


class NoRule(NotImplementedError):
    """A function, applied to a carried change, whose rule is not known."""


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


def rule(*functions: Any) -> Callable[[Rule], Rule]:
    """Enter a rule, called as rule(function, *arguments, **named), for these functions."""

    def enter(made: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, made))
        return made

    return enter
