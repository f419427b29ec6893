"""A pass of values only: what a model gives, and goes through, when parts of it are replaced."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation.blocks import Blocks, unbridged
from universal_response.propagation.clean_pass import check_length, whole
from universal_response.propagation.edits import Edit, FreezeHeads, check_edits, first_layer
from universal_response.propagation.hooks import begun, outputs_seen, states_seen
from universal_response.propagation.modules import Carrying, Tape
from universal_response.propagation.observing import Observers, Seen, check
from universal_response.propagation.run import Run, run_blocks


@dataclass(frozen=True, eq=False)
class Start:
    """Where a pass begins, so that blocks before it need not be run again.

    Attributes:
        layer: the first block that is run.
        state: at its input, (sequence, token, d_model); where it requires a gradient, so does all
            that follows.
    """

    layer: int
    state: Float[Tensor, "sequence token d_model"]


def forward(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    *,
    edits: Sequence[Edit] = (),
    observe: Observers | None = None,
    start: Start | None = None,
) -> Float[Tensor, "sequence token d_model"]:
    """Run a model on whole sequences.

    Args:
        tokens: token ids, moved to the model's device.
        model: a bridge whose attention can be opened, for edits and to see inside it.
        edits: what is done to it; gradients flow to what is put there where it requires them.
        observe: functions called with what is `Seen` of each kind, rows in the order (sequence,
            token); changes are None.
        start: begin there; from the embedding on if None.

    Returns:
        The state after the final norm, from which logits are made.

    Raises:
        ValueError: more tokens than the model's context, something that cannot be edited or
            watched, or a start that is not there or comes after an edit; in one line.
    """
    tokens, observe = torch.as_tensor(tokens), observe or {}
    check_length(tokens.shape[1], model)
    with (
        torch.set_grad_enabled(_asks_for_gradient(edits, start)),
        unbridged(model) as blocks,
    ):
        check(observe, blocks.open_attention)
        n_sequences, t = tokens.shape
        check_edits(edits, blocks.parts, blocks.heads, blocks.open_attention, (n_sequences, t))
        run = Run(blocks, tokens.to(blocks.device), Tape(False), Carrying(), edits=edits)
        packing = whole(run)
        index = packing.index(run.device)
        first = 0 if start is None else _position(blocks, start.layer)
        if start is not None and any(first_layer(edit) < start.layer for edit in edits):
            raise ValueError(
                f"start: layer {start.layer} comes after an edit; begin at layer "
                f"{min(map(first_layer, edits))} or before it"
            )

        def seen(state: Tensor, position: int) -> None:
            if "residual" in observe and position >= first:
                at, value = blocks.positions[position], state.reshape(len(index.target), -1)
                about = ("residual", at.layer, at.sublayer)
                observe["residual"](Seen(*about, value, None, index, position))

        with ExitStack() as inside:
            if start is not None:
                inside.enter_context(begun(blocks, start.layer, start.state))
            inside.enter_context(states_seen(blocks, seen))
            inside.enter_context(outputs_seen(blocks, observe, index))
            found = run_blocks(run, packing, observe, clean=True)
        return found.reshape(*tokens.shape, -1)


def _asks_for_gradient(edits: Sequence[Edit], start: Start | None) -> bool:
    put = [each.by for each in edits if not isinstance(each, FreezeHeads)]
    given = put if start is None else [*put, start.state]
    return any(each.requires_grad for each in given)


def _position(blocks: Blocks, layer: int) -> int:
    """l at the input of a block."""
    if not 0 <= layer < len(blocks.layers):
        raise ValueError(f"start: layer {layer} is not one of 0 .. {len(blocks.layers) - 1}")
    if not blocks.open_attention:
        raise ValueError("start: this model runs attention by code of its own; begin at its input")
    return 0 if layer == 0 else max(at.index for at in blocks.positions if at.layer < layer)
