"""Changes of residual vectors -> inner products, in the pass that carries them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from universal_response.metrics import InnerProducts
from universal_response.propagation.rows import Parts, Rows, by_rows
from universal_response.propagation.suffixes import Index


@dataclass(frozen=True)
class Entries:
    """Where the numbers of every row of a pass belong in `InnerProducts`.

    Attributes:
        found: what is filled.
        entry: of every row, its place in an inner product of one position.
    """

    found: InnerProducts
    entry: Int[Tensor, " packed"]

    @classmethod
    def of(cls, found: InnerProducts, index: Index) -> "Entries":
        """By strength, sequence, source and target of the rows."""
        n_sequences, n_sources = found.sources.shape
        t = found.state_state.shape[-1]
        # Which of the sources of its sequence a token is.
        slots = torch.zeros((n_sequences, t), dtype=torch.long, device=found.sources.device)
        order = torch.arange(n_sources, device=slots.device).expand(n_sequences, -1)
        slot = slots.scatter_(1, found.sources, order)[index.sequence, index.source]
        row = (index.strength * n_sequences + index.sequence) * n_sources + slot
        return cls(found, row * t + index.target)

    def write(
        self, position: int, numbers: Float[Tensor, "row 6"], rows: Tensor | None = None
    ) -> None:
        """The numbers of all rows, or of some, at a position."""
        kept = (
            self.found.response_response,
            self.found.response_state,
            self.found.response_source,
            self.found.response_perturbation,
            self.found.perpendicular,
        )
        entry = self.entry if rows is None else self.entry[rows]
        for product, column in zip(kept, numbers[:, :5].unbind(-1), strict=True):
            product[position].view(-1).index_copy_(0, entry, column.to(product))


def empty(
    states: Sequence[Float[Tensor, "token d_model"]],
    n_strengths: int,
    sources: Int[Tensor, "sequence source"],
    device: torch.device,
) -> InnerProducts:
    """Inner products of nothing but the clean states of every position."""
    squares = torch.stack([(each * each).sum(-1).to(device) for each in states])
    squares = squares.unflatten(1, (len(sources), -1))
    shape = (len(squares), n_strengths, *sources.shape, squares.shape[-1])
    a, b, c, d, e = (squares.new_zeros(shape) for _ in range(5))
    return InnerProducts(squares, a, b, c, d, e, sources.to(device))


def products_of_rows(
    change: Float[Tensor, "row d_model"],
    clean: Rows,
    start: Int[Tensor, " row"],
    made: Float[Tensor, "row d_model"],
    compiled: bool,
) -> Float[Tensor, "row 6"]:
    """The five inner products of every row of a pass, and |x|^2.

    Args:
        change: D of every row.
        clean: x.
        start: the row of its source.
        made: the change made to the source, in its row.
        compiled: as for `by_rows`.
    """
    at_source = (each.index_select(0, start) for each in (change, made))
    return by_rows(row_products, [clean], [change, *at_source], compiled)


def row_products(clean: Parts, changes: Sequence[Tensor]) -> Tensor:
    """D.D, D.x, D.D_i, D.D_i^(0), |D_perp|^2 and x.x of rows, (row, 6)."""
    d, at_source, made = changes
    x = clean(0).to(d.dtype)
    dx, xx = (d * x).sum(-1), (x * x).sum(-1)
    across = torch.addcmul(d, (dx / torch.where(xx > 0, xx, 1))[:, None], x, value=-1)
    others = ((d * d).sum(-1), dx, (d * at_source).sum(-1), (d * made).sum(-1))
    return torch.stack([*others, (across * across).sum(-1), xx], dim=-1)


def moments(numbers: Float[Tensor, "row 6"], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean x^2, (x.d) / (x.x) and mean w^2 of every row, for the norm that comes next."""
    dx, across, xx = (numbers[:, k, None] for k in (1, 4, 5))
    return xx / width, dx / torch.where(xx > 0, xx, 1), across / width
