"""What may be watched while changes are carried: functions called with value and change."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from universal_response.propagation.suffixes import Index, Segment

KINDS = ("residual", "pattern", "values", "z", "output", "normed_output", "neurons")
OF_ATTENTION = ("pattern", "values", "z")


@dataclass(frozen=True)
class Seen:
    """One place of the model in one pass.

    Attributes:
        kind: one of `KINDS`: the residual stream; the attention pattern; the values that it mixes;
            what it makes of them, z; what a sublayer gives, before a norm of its own that some
            models put after it, and after that (`output` where there is none); activations of the
            neurons of an MLP.
        layer: the block.
        sublayer: `attention` or `mlp`; of the residual stream what wrote last.
        value: clean, of the same rows as the change: (row, d_model), or (row, head, d_head) of
            values and z; of a pattern (sequence, head, query, key).
        change: (row, ...); of a pattern (strength, sequence, head, query, key); None in a pass of
            values only.
        index: where each row belongs; of a pattern the segment: queries are its source and what
            follows, keys all tokens.
        position: l, of the residual stream.
    """

    kind: str
    layer: int
    sublayer: str
    value: Tensor
    change: Any  # Tensor | None: who carries changes need not ask
    index: Index | Segment
    position: int | None = None


Observers = Mapping[str, Callable[[Seen], object]]


def check(observe: Observers, open_attention: bool) -> None:
    """Refuse what cannot be watched.

    Raises:
        ValueError: an unknown kind, or one inside an attention that is the model's own code.
    """
    for kind in observe:
        if kind not in KINDS:
            raise ValueError(f"observe={kind}: choose from {', '.join(KINDS)}")
        if kind in OF_ATTENTION and not open_attention:
            raise ValueError(
                f"observe={kind}: this model runs attention by code of its own; choose from "
                f"{', '.join(each for each in KINDS if each not in OF_ATTENTION)}"
            )
