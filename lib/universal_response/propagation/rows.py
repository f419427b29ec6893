"""Rules that treat all rows alike, evaluated on some rows after others or compiled as a whole.

A rule's cost is the memory it goes through. A processor takes a few rows at a time, so that what
lies between stays in its cache; for long measurements PyTorch compiles the rule into one loop.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Numbers that a processor takes at a time.
NUMBERS_AT_A_TIME = 3 << 16

# Parts of clean values by number, gathered where they are needed.
Parts = Callable[[int], Tensor]
RowRule = Callable[[Parts, Sequence[Tensor]], Tensor]
# The same for changes that are not strong, and of every row whether one is.
WeakRule = Callable[[Parts, Sequence[Tensor]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rows:
    """Rows of a clean tensor, not gathered before they are needed.

    Attributes:
        table: (token, width).
        index: of every row its token, (row,); None if the rows are those of the table.
        memo: what was computed from the table, by the function that did.
    """

    table: Tensor
    index: Tensor | None
    memo: dict[Any, tuple[Tensor, ...]] = field(default_factory=dict)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        if self.index is None:
            return self.table[rows]
        return self.table.index_select(0, self.index[rows])

    @property
    def gathered(self) -> "Rows":
        """The same rows as a table of their own."""
        return Rows(self[slice(None)], None)

    def computed(self, function: Callable[[Tensor], tuple[Tensor, ...]]) -> list["Rows"]:
        """Rows of what a function makes of every row of the table."""
        if function not in self.memo:
            self.memo[function] = function(self.table)
        return [Rows(table, self.index) for table in self.memo[function]]


def by_rows(
    rule: RowRule,
    clean: Sequence[Rows],
    changes: Sequence[Tensor],
    compiled: bool = False,
    weak: WeakRule | None = None,
) -> Tensor:
    """Evaluate a rule on all rows.

    Args:
        rule: called with parts of clean values (row, width) by number, and with changes.
        clean: what the rule asks for by number.
        changes: (row, width).
        compiled: let PyTorch compile the rule; by the same function it is compiled once.
        weak: a form of the rule that suffices for most rows, to be compiled instead.

    Returns:
        (row, width).
    """

    def of(rows: slice | Tensor) -> Tensor:
        return rule(lambda k: clean[k][rows], [each[rows] for each in changes])

    n_rows, width = changes[0].shape
    if compiled:
        # One index serves all tables of a pass.
        tables, index = [each.table for each in clean], clean[0].index
        if weak is None:
            return _compiled(rule)(tables, index, list(changes))
        found, strong = _compiled(weak)(tables, index, list(changes))
        if strong.any():
            found[strong] = of(strong.nonzero()[:, 0])
        return found
    on_cpu = changes[0].device.type == "cpu"
    size = max(NUMBERS_AT_A_TIME // width, 1) if on_cpu else max(n_rows, 1)
    parts = [of(slice(at, min(at + size, n_rows))) for at in range(0, n_rows, size)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


@functools.cache
def _compiled(rule: Callable[..., Any]) -> Callable[..., Any]:
    def whole(tables: list[Tensor], index: Tensor | None, changes: list[Tensor]) -> Any:
        def clean(k: int) -> Tensor:
            return tables[k] if index is None else tables[k].index_select(0, index)

        return rule(clean, changes)

    return torch.compile(whole, dynamic=True)


@functools.cache
def can_compile() -> bool:
    """Whether there is what compiling for the processor needs, above all a C++ compiler."""
    try:
        _compiled(_double)([torch.ones(2, 2)], None, [torch.ones(2, 2)])
    except Exception:  # whatever is missing: rules run step by step without it
        return False
    return True


def _double(clean: Parts, changes: Sequence[Tensor]) -> Tensor:
    return clean(0) + changes[0]
