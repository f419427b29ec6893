"""Hooks of a pass: where states are seen, and where the change begins."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.blocks import Blocks
from universal_response.propagation.change import Carried
from universal_response.propagation.entries import value_and_change
from universal_response.propagation.observing import Observers, Seen
from universal_response.propagation.pair import Terms
from universal_response.propagation.rows import Rows
from universal_response.propagation.suffixes import Index


@contextmanager
def states_seen(blocks: Blocks, see: Callable[[Tensor, int], object]) -> Iterator[None]:
    """Show the states (.., d_model) of every position in turn."""

    def on_input(module: object, args: tuple, position: int) -> None:
        see(args[0], position)

    def on_output(module: object, args: tuple, output: Any, position: int) -> None:
        see(output if isinstance(output, Tensor) else output[0], position)

    with ExitStack() as hooks:
        for position, (module, is_input) in enumerate(blocks.hooked):
            register: Any = (
                module.register_forward_pre_hook if is_input else module.register_forward_hook
            )
            shown = partial(on_input if is_input else on_output, position=position)
            hooks.callback(register(shown).remove)
        yield


@contextmanager
def started(
    blocks: Blocks,
    states: Sequence[Tensor],
    position: int,
    terms: Terms,
    put: Callable[[Carried], None],
    with_tuples: Collection[torch.nn.Module],
) -> Iterator[None]:
    """Carry a change from the block on in which it is made; skip the blocks before it.

    Args:
        blocks: the model.
        states: clean, of every position, (token, d_model).
        position: l at which the change is made.
        terms: how it is carried.
        put: puts the change into the state at the input of a block. Where the change is made inside
            the block it is zero until whoever sees that position puts it there.
        with_tuples: blocks that return a tuple, its first entry the state.
    """
    at = blocks.positions[position]
    inside = at.sublayer == "attention"
    n_skipped = at.layer + (at.sublayer in ("mlp", "block"))
    if n_skipped == len(blocks.layers):
        # After the last block nothing is left to run but that block, with no change.
        n_skipped, inside = n_skipped - 1, True

    def begin(module: object, args: tuple) -> tuple:
        assert terms.index is not None
        nothing = states[0].new_zeros((len(terms.index), states[0].shape[-1]))
        before = Rows(states[max(position - 1, 0)], terms.index)
        state = Carried(before, nothing.view(args[0].shape), terms, args[0].dtype)
        if not inside:
            put(state)
        return (state, *args[1:])

    # Before the hook that sees the state.
    handle = blocks.layers[n_skipped].register_forward_pre_hook(begin, prepend=True)
    try:
        with skipped(blocks.layers[:n_skipped], with_tuples):
            yield
    finally:
        handle.remove()


@contextmanager
def begun(blocks: Blocks, layer: int, state: Tensor) -> Iterator[None]:
    """Begin a pass of values at the input of a block, with a state of any shape (.., d_model)."""

    def begin(module: object, args: tuple) -> tuple:
        return (state.to(args[0]).reshape(args[0].shape), *args[1:])

    handle = blocks.layers[layer].register_forward_pre_hook(begin, prepend=True)
    try:
        with skipped(blocks.layers[:layer]):
            yield
    finally:
        handle.remove()


@contextmanager
def skipped(
    blocks: Sequence[torch.nn.Module], with_tuples: Collection[torch.nn.Module] = ()
) -> Iterator[None]:
    """Let blocks give what they are given."""

    def through(hidden: Tensor, *_: Any, in_tuple: bool, **__: Any) -> Any:
        return (hidden, None) if in_tuple else hidden

    with ExitStack() as undo:
        for module in blocks:
            undo.callback(_put_back, module, vars(module).get("forward"))
            forward = partial(through, in_tuple=module in with_tuples)
            module.forward = forward  # type: ignore[method-assign]
        yield


def _put_back(module: torch.nn.Module, forward: Callable[..., Any] | None) -> None:
    vars(module).pop("forward", None)
    if forward is not None:
        module.forward = forward  # type: ignore[method-assign]


@contextmanager
def outputs_seen(blocks: Blocks, observe: Observers, index: Index) -> Iterator[None]:
    """Show the outputs of sublayers, and activations of neurons, to who watches them."""

    def show(state: Tensor, about: tuple[str, int, str]) -> None:
        kind, layer, sublayer = about
        value, change = value_and_change(state)
        shape = (len(index.start), -1)
        change = None if change is None else change.reshape(shape)
        observe[kind](Seen(kind, layer, sublayer, value.reshape(shape), change, index))

    def on_output(module: object, args: tuple, output: Any, about: tuple) -> None:
        show(output[0] if isinstance(output, tuple) else output, about)

    def on_input(module: object, args: tuple, about: tuple) -> None:
        show(args[0], about)

    with ExitStack() as hooks:
        for layer, parts in enumerate(blocks.parts):
            for kind, sublayer, module in parts.outputs:
                if kind in observe:
                    shown = partial(on_output, about=(kind, layer, sublayer))
                    hooks.callback(module.register_forward_hook(shown).remove)
            if "neurons" in observe and parts.neurons is not None:
                shown = partial(on_input, about=("neurons", layer, "mlp"))
                hooks.callback(parts.neurons.register_forward_pre_hook(shown).remove)
        yield


@contextmanager
def tuples_noted(blocks: Blocks, noted: set[torch.nn.Module]) -> Iterator[None]:
    """Note which blocks return a tuple."""

    def note(module: torch.nn.Module, args: tuple, output: Any) -> None:
        if isinstance(output, tuple):
            noted.add(module)

    with ExitStack() as hooks:
        for module in blocks.layers:
            hooks.callback(module.register_forward_hook(note).remove)
        yield
