"""The clean pass: a model taken for measuring, and the values that all changed passes need."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation.blocks import Blocks, unbridged
from universal_response.propagation.edits import Edit, check_edits
from universal_response.propagation.hooks import states_seen, tuples_noted
from universal_response.propagation.modules import Tape, carrying
from universal_response.propagation.rows import can_compile
from universal_response.propagation.run import Run, run_blocks
from universal_response.propagation.suffixes import Packing, Segment

# On a processor measured (`benchmarks choices`); a GPU wants many more rows to be busy.
TOKENS_PER_PASS = {"cpu": 4096, "cuda": 32768, "mps": 8192}

# Tokens times weights from which on a processor wins more by compiled rules than compiling takes.
WORTH_COMPILING = 10**13


@contextmanager
def prepared(
    model: TransformerBridge,
    tokens: Tensor,
    products: str,
    position: int,
    n_passed: int,
    edits: Sequence[Edit] = (),
) -> Iterator[Run]:
    """Take the model, run the clean pass, and give the model back whatever happens."""
    n_sequences, t = tokens.shape
    check_length(t, model)
    tape = Tape(n_tokens=n_sequences * t)
    with (
        unbridged(model) as blocks,
        carrying(blocks.base, tape, blocks.mixing, products) as modules,
    ):
        check_edits(edits, blocks.parts, blocks.heads, blocks.open_attention, (n_sequences, t))
        if edits and position > 0:
            raise ValueError(
                f"perturbed_position={position}: a model that is edited is perturbed at its input; "
                "use perturbed_position=0"
            )
        n_positions = len(blocks.positions)
        if not 0 <= position < n_positions:
            raise ValueError(
                f"perturbed_position={position}: the model has positions 0 .. {n_positions - 1}"
            )
        n_weights = sum(each.numel() for each in blocks.base.parameters())
        long = blocks.device.type == "cpu" and n_passed * n_weights > WORTH_COMPILING
        compiled = long and can_compile()
        run = Run(blocks, tokens.to(blocks.device), tape, modules, compiled=compiled, edits=edits)
        _clean_pass(run)
        tape.recording = False
        yield run


def check_length(t: int, model: TransformerBridge) -> None:
    if t > model.cfg.n_ctx:
        raise ValueError(
            f"tokens: {t} per sequence exceed the model's context of {model.cfg.n_ctx}"
        )


def whole(run: Run) -> Packing:
    """Whole sequences laid end to end."""
    n_sequences, t = run.tokens.shape
    return Packing((Segment(0, tuple(range(n_sequences)), 0, 1),), t)


def _clean_pass(run: Run) -> None:
    def keep(state: Tensor, position: int) -> None:
        run.states.append(_at_least_float32(state.reshape(-1, state.shape[-1]).clone()))

    with states_seen(run.blocks, keep), tuples_noted(run.blocks, run.with_tuples):
        run_blocks(run, whole(run), clean=True)
    check_finite(torch.stack([(each * each).sum(-1) for each in run.states]), run.blocks, "a state")


def check_finite(by_position: Tensor, blocks: Blocks, what: str) -> None:
    """One question to the device for all positions."""
    finite = by_position.flatten(1).isfinite().all(1)
    if not bool(finite.all()):
        at = blocks.positions[int((~finite).nonzero()[0])]
        raise ValueError(
            f"model: {what} is not finite at layer {at.layer}, position {at.index} (after "
            f"{at.sublayer}); check the weights, or load it with dtype=float32"
        )


class _Seen(Exception):
    """A pass may stop: what was to be seen has been."""


def input_of(run: Run) -> Tensor:
    """States of position 0 only."""
    found: list[Tensor] = []

    def keep(state: Tensor, position: int) -> None:
        found.append(_at_least_float32(state.reshape(-1, state.shape[-1])))
        raise _Seen

    with states_seen(run.blocks, keep), suppress(_Seen):
        run_blocks(run, whole(run), clean=True)
    return found[0]


def _at_least_float32(state: Tensor) -> Tensor:
    return state.float() if state.dtype in (torch.float16, torch.bfloat16) else state
