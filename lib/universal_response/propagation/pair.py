"""A value and its change, each computed when it is first asked for."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.rows import Parts, RowRule, Rows, WeakRule, by_rows
from universal_response.propagation.rules import SelfGated


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


def flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1])


def itself(v: Tensor) -> tuple[Tensor, ...]:
    """For `computed`: the clean value as it is."""
    return (v,)


def computed(pair: Pair, function: Callable[[Tensor], tuple[Tensor, ...]]) -> Sequence[Rows]:
    """What a function makes of the clean value, by rows (row, width)."""
    rows = pair.rows or Rows(flat(pair.value), None)
    return rows.computed(function)
