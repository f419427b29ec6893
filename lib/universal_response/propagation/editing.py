"""Edits put into a model for a pass: where each part is replaced, frozen or read otherwise."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from universal_response.propagation.edits import (
    THROUGH,
    Edit,
    FreezeHeads,
    PatchEdge,
    ReplaceHeads,
    ReplaceNeurons,
    ReplaceOutput,
    rows_edited,
    rows_of,
)
from universal_response.propagation.parts import Parts
from universal_response.propagation.products import weight_of
from universal_response.propagation.suffixes import Index

Inputs = tuple[Tensor, Tensor, Tensor]


class Captured(Exception):
    """Queries, keys and values of an attention that is not to go on."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.inputs = inputs


class Capturing:
    """Stops at the first attention, with its queries, keys and values."""

    def inputs(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Inputs:
        raise Captured((query, key, value))


@dataclass(frozen=True)
class _Route:
    """Heads of a layer that read the same other state: what some senders write is another one.

    Attributes:
        layer: of the heads.
        through: what of them is computed from it.
        edges: one for every sender.
        heads: that read it.
    """

    layer: int
    through: str
    edges: tuple[PatchEdge, ...]
    heads: tuple[int, ...]


def _routes(edits: Sequence[Edit]) -> list[_Route]:
    """Edges that reach the same heads, together; of a sender that is given twice the last."""
    reaching: dict[tuple[int, str, int], dict[tuple[int, int], PatchEdge]] = {}
    for edge in edits:
        if isinstance(edge, PatchEdge):
            for head in edge.heads:
                at = edge.layer, edge.through, head
                reaching.setdefault(at, {})[edge.sender] = edge
    heads: dict[tuple[int, str, tuple[PatchEdge, ...]], list[int]] = {}
    for (layer, through, head), edges in reaching.items():
        heads.setdefault((layer, through, tuple(edges.values())), []).append(head)
    return [_Route(*about, tuple(found)) for about, found in heads.items()]


class Editing:
    """Edits of one pass. Attention asks it for the queries, keys, values and z to go on with.

    Attributes:
        edits: all of them.
        index: where the rows of the pass belong.
    """

    def __init__(self, edits: Sequence[Edit], index: Index) -> None:
        self.edits, self.index = edits, index
        self._capturing = False
        self._routes = _routes(edits)
        self._read: dict[_Route, Inputs] = {}
        # Of every edge the change of the sender's z that receivers see.
        self._sent: dict[PatchEdge, Tensor] = {}

    def inputs(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Inputs:
        """Queries, keys and values (1, head, row, d_head) that a layer goes on with."""
        if self._capturing:
            raise Captured((query, key, value))
        found = [query, key, value]
        for route in [each for each in self._routes if each.layer == layer]:
            place = THROUGH.index(route.through)
            n_shared = query.shape[1] // found[place].shape[1]
            patched = sorted({head // n_shared for head in route.heads})
            taken = _mask(patched, found[place].shape[1], query)[None, :, None, None]
            found[place] = torch.where(taken, self._read.pop(route)[place], found[place])
        return found[0], found[1], found[2]

    def mixture(self, layer: int, z: Tensor) -> Tensor:
        """What heads mix (1, row, head, d_head), as a layer goes on with it."""
        for edit in self._of(ReplaceHeads, layer):
            by = torch.zeros(z.shape[1:], dtype=z.dtype, device=z.device)
            by[:, list(edit.heads)] = rows_of(edit.by, self.index, by)
            here = rows_edited(edit, self.index)[:, None, None]
            z = torch.where(_mask(edit.heads, z.shape[2], z)[:, None] & here, by[None], z)
        for edge in self.edits:
            if isinstance(edge, PatchEdge) and edge.sender[0] == layer:
                sent = z[:, :, edge.sender[1]]
                self._sent[edge] = rows_of(edge.by, self.index, sent)[None] - sent
        return z

    def frozen(self, layer: int, what: str, n_heads: int, like: Tensor) -> Tensor | None:
        """Which heads of a layer are frozen, (head,); None if none is."""
        heads = [
            h for edit in self._of(FreezeHeads, layer) if edit.what == what for h in edit.heads
        ]
        return _mask(heads, n_heads, like) if heads else None

    def _of(self, kind: type, layer: int) -> list[Any]:
        return [edit for edit in self.edits if isinstance(edit, kind) and edit.layer == layer]

    @contextmanager
    def attached(self, blocks: Sequence[Parts]) -> Iterator[None]:
        """Edits of what is not attention itself."""
        with ExitStack() as undo:

            def hook(
                register: Callable[..., Any], function: Callable[..., Any], **how: Any
            ) -> None:
                undo.callback(register(function, **how).remove)

            for edit in self.edits:
                if isinstance(edit, ReplaceNeurons):
                    module = blocks[edit.layer].neurons
                    hook(module.register_forward_pre_hook, self._neurons(edit), prepend=True)
                elif isinstance(edit, ReplaceOutput):
                    module = _adding(blocks[edit.layer], edit.sublayer)
                    hook(module.register_forward_hook, self._output(edit), prepend=True)
            for route in self._routes:
                self._route(route, blocks, hook)
            yield

    def _neurons(self, edit: ReplaceNeurons) -> Callable[..., Any]:
        def before(module: object, args: tuple) -> tuple:
            (x,) = args
            by = torch.zeros((len(self.index.target), x.shape[-1]), dtype=x.dtype, device=x.device)
            by[:, list(edit.neurons)] = rows_of(edit.by, self.index, by)
            here = rows_edited(edit, self.index)[:, None] & _mask(edit.neurons, x.shape[-1], x)
            return (torch.where(here.view(x.shape), by.view(x.shape), x),)

        return before

    def _output(self, edit: ReplaceOutput) -> Callable[..., Any]:
        def after(module: object, args: tuple, output: Any) -> Any:
            state = output[0] if isinstance(output, tuple) else output
            by = rows_of(edit.by, self.index, state).view(state.shape)
            here = rows_edited(edit, self.index)[:, None].expand(-1, by.shape[-1])
            state = torch.where(here.view(by.shape), by, state)
            return (state, *output[1:]) if isinstance(output, tuple) else state

        return after

    def _route(self, route: _Route, blocks: Sequence[Parts], hook: Callable[..., None]) -> None:
        receiving = blocks[route.layer]
        state: list[Tensor] = []
        written: list[Tensor] = []

        def sent(module: object, args: tuple, output: Any, layer: int) -> None:
            whole = output[0] if isinstance(output, tuple) else output
            edges = [edge for edge in route.edges if edge.sender[0] == layer]
            written.append(self._written(edges, blocks[layer], whole))

        def entered(module: object, args: tuple) -> None:
            state.append(args[0])

        def received(module: Any, args: tuple, named: dict) -> None:
            inside = args[0] if args else named["hidden_states"]
            other = sum(written, start=state.pop() if state else inside)
            if receiving.norm is not None:
                # Past its hooks, as below: who watches the model sees nothing of this.
                other = receiving.norm.forward(other)
            if args:
                args = (other, *args[1:])
            else:
                named = {**named, "hidden_states": other}
            self._capturing = True
            try:
                module.forward(*args, **named)
            except Captured as captured:
                self._read[route] = captured.inputs
            finally:
                self._capturing = False

        for layer in sorted({edge.sender[0] for edge in route.edges}):
            hook(blocks[layer].attention.register_forward_hook, partial(sent, layer=layer))
        if receiving.norm is not None:
            hook(receiving.norm.register_forward_pre_hook, entered)
        hook(receiving.attention.register_forward_pre_hook, received, with_kwargs=True)

    def _written(self, edges: Sequence[PatchEdge], sending: Parts, output: Tensor) -> Tensor:
        """What the residual stream would have more, had senders of a layer mixed the other z."""
        more = sum(self._projected(edge, sending) for edge in edges)
        more = more.view(output.shape)
        if sending.attention_norm is not None:
            norm = sending.attention_norm.forward
            more = norm(output + more) - norm(output)
        return more * sending.multiplier if sending.multiplier != 1 else more

    def _projected(self, edge: PatchEdge, sending: Parts) -> Any:
        sent = self._sent[edge]
        width = sent.shape[-1]
        columns = slice(edge.sender[1] * width, (edge.sender[1] + 1) * width)
        return torch.nn.functional.linear(sent, weight_of(sending.mixed)[:, columns])


def _mask(chosen: Sequence[int], n: int, like: Tensor) -> Tensor:
    mask = torch.zeros(n, dtype=torch.bool, device=like.device)
    mask[list(chosen)] = True
    return mask


def _adding(parts: Parts, sublayer: str) -> Any:
    """The module that gives what a sublayer adds, after a norm of its own."""
    return next(
        module for kind, of, module in parts.outputs if kind == "normed_output" and of == sublayer
    )
