"""The blocks of a model, run on the tokens of a pass, and nothing after them but the final norm."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from universal_response.propagation.attention import Attended
from universal_response.propagation.blocks import Blocks
from universal_response.propagation.change import Carried
from universal_response.propagation.editing import Editing
from universal_response.propagation.edits import Edit
from universal_response.propagation.modules import Carrying, Tape
from universal_response.propagation.observing import Observers
from universal_response.propagation.pattern import Clean
from universal_response.propagation.precision import FullPrecision
from universal_response.propagation.suffixes import Packing, Segment


@dataclass(frozen=True)
class Run:
    """A model taken for measuring, and what its clean pass left.

    Attributes:
        blocks: the model.
        tokens: (sequence, token).
        tape: outputs of linear layers.
        carrying: the modules with their rules.
        states: of every position, the residual vectors, (sequence token, d_model).
        attended: queries, keys and values of every layer.
        keys_and_values: the same from the cache, where the model's own attention is used.
        with_tuples: blocks that return a tuple.
        compiled: whether rules on rows are compiled.
        edits: what is done to the model in every pass.
    """

    blocks: Blocks
    tokens: Int[Tensor, "sequence token"]
    tape: Tape
    carrying: Carrying
    states: list[Float[Tensor, "token d_model"]] = field(default_factory=list)
    attended: dict[int, Clean] = field(default_factory=dict)
    keys_and_values: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    with_tuples: set[torch.nn.Module] = field(default_factory=set)
    compiled: bool = False
    edits: Sequence[Edit] = ()

    @property
    def device(self) -> torch.device:
        return self.tokens.device


def run_blocks(
    run: Run, packing: Packing, observe: Observers | None = None, clean: bool = False
) -> Tensor:
    """Run the blocks on the tokens of a pass, and nothing after them but the final norm.

    In float64 casts to float32 are left out: a value they have rounded no longer cancels the change
    that takes all of it away (epsilon = 1).

    Args:
        run: the model.
        packing: the tokens.
        observe: who watches.
        clean: whether this is a pass of values only.

    Returns:
        (1, packed, d_model) after the final norm.
    """
    double = next(run.blocks.base.parameters()).dtype == torch.float64
    with FullPrecision() if double else nullcontext():
        if run.blocks.open_attention:
            return _run_end_to_end(run, packing, observe or {})
        return _run_in_rows(run, packing, clean)


def _run_end_to_end(run: Run, packing: Packing, observe: Observers) -> Tensor:
    index = packing.index(run.device)
    editing = Editing(run.edits, index) if run.edits else None
    with editing.attached(run.blocks.parts) if editing else nullcontext():
        found = run.blocks.base(
            run.tokens[index.sequence, index.target][None],
            position_ids=index.target[None],
            use_cache=False,
            suffixes=Attended(packing, run.attended, observe, editing),
        )
    return found[0]


def _run_in_rows(run: Run, packing: Packing, clean: bool) -> Tensor:
    """The same with one source, for a model whose own attention has to be used."""
    (segment,) = packing.segments
    layers: list[DynamicLayer]
    if clean:
        layers = [DynamicLayer() for _ in range(run.blocks.base.config.num_hidden_layers)]
    else:
        layers = [
            _CleanLayer(*run.keys_and_values[layer], segment)
            for layer in sorted(run.keys_and_values)
        ]
    rows = run.tokens[list(segment.sequences), segment.source :]
    rows = rows.repeat(segment.stop - segment.first, 1)
    found = run.blocks.base(rows, past_key_values=Cache(layers=[*layers]), use_cache=True)
    if clean:
        for number, layer in enumerate(layers):
            assert layer.keys is not None
            assert layer.values is not None
            run.keys_and_values[number] = (layer.keys, layer.values)
    return found[0]


class _CleanLayer(DynamicLayer):
    """Keys and values of the whole clean sequences, with the changes of the suffix.

    The rows are the sequences of the segment repeated once per strength.
    """

    def __init__(self, keys: Tensor, values: Tensor, segment: Segment) -> None:
        super().__init__()
        chosen = list(segment.sequences) * (segment.stop - segment.first)
        self.whole = keys[chosen], values[chosen]
        self.lazy_initialization(*self.whole)
        # What the model takes for the length of the past.
        self.keys, self.values = (each[:, :, : segment.source] for each in self.whole)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        found = []
        for clean, moved in zip(self.whole, (key_states, value_states), strict=True):
            if not isinstance(moved, Carried):
                # A skipped part of the model: nothing changes there.
                found.append(clean)
                continue
            before = clean.shape[2] - moved.shape[2]
            change = torch.nn.functional.pad(moved.change, (0, 0, before, 0))
            found.append(Carried(clean, change, moved.terms, moved.dtype))
        return found[0], found[1]
