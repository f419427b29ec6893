"""What may be done to a model while values and changes pass through it.

An edit puts something else in the place of what a part of the model gives: ablation and patching.
It holds for values and changes alike. What is put there is known beforehand and does not change, so
that no change leaves an edited part but by the parts that are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from universal_response.propagation.parts import Heads, Parts
from universal_response.propagation.products import weight_of
from universal_response.propagation.suffixes import Index

Through = Literal["queries", "keys", "values"]
THROUGH: tuple[Through, ...] = ("queries", "keys", "values")


@dataclass(frozen=True, eq=False)
class ReplaceHeads:
    """What some heads of a layer mix, z, becomes something else.

    Attributes:
        layer: the block.
        heads: of that block.
        by: (sequence or 1, token or 1, head, d_head), as many heads as are replaced.
        tokens: where, places in a sequence; everywhere if None.
    """

    layer: int
    heads: Sequence[int]
    by: Tensor
    tokens: Sequence[int] | None = None


@dataclass(frozen=True, eq=False)
class ReplaceNeurons:
    """Activations of some neurons of an MLP, what its last matrix multiplies, become others.

    Attributes:
        layer: the block.
        neurons: of its MLP.
        by: (sequence or 1, token or 1, neuron), as many as are replaced.
        tokens: where, places in a sequence; everywhere if None.
    """

    layer: int
    neurons: Sequence[int]
    by: Tensor
    tokens: Sequence[int] | None = None


@dataclass(frozen=True, eq=False)
class ReplaceOutput:
    """What a sublayer gives, after a norm of its own, becomes something else.

    It is added to the residual stream; in models that multiply what they add, multiplied.

    Attributes:
        layer: the block.
        sublayer: `attention` or `mlp`.
        by: (sequence or 1, token or 1, d_model).
        tokens: where, places in a sequence; everywhere if None.
    """

    layer: int
    sublayer: Literal["attention", "mlp"]
    by: Tensor
    tokens: Sequence[int] | None = None


@dataclass(frozen=True)
class FreezeHeads:
    """A head's pattern, or the values that it mixes, do not change with the perturbed token.

    The clean pass is not touched: changes are. A frozen pattern gives p dv, frozen values dp v.

    Attributes:
        layer: the block.
        heads: of that block.
        what: `pattern` or `values`.
    """

    layer: int
    heads: Sequence[int]
    what: Literal["pattern", "values"]


@dataclass(frozen=True, eq=False)
class PatchEdge:
    """Path patching: some heads read another output of one head than the rest of the model does.

    Attributes:
        sender: layer and head whose z is another one for the receivers.
        layer: of the receivers, after the sender's.
        heads: which of its heads; where they share keys and values, all that share them.
        through: what of them is computed from the other state: `queries`, `keys` or `values`.
        by: the sender's z as the receivers see it, (sequence or 1, token or 1, d_head).
    """

    sender: tuple[int, int]
    layer: int
    heads: Sequence[int]
    through: Through
    by: Tensor


Edit = ReplaceHeads | ReplaceNeurons | ReplaceOutput | FreezeHeads | PatchEdge


def first_layer(edit: Edit) -> int:
    """The first block in which an edit does something."""
    return edit.sender[0] if isinstance(edit, PatchEdge) else edit.layer


def rows_of(by: Tensor, index: Index, like: Tensor) -> Tensor:
    """(sequence or 1, token or 1, ..) -> (row, ..), of the tokens of a pass."""
    nothing = torch.zeros_like(index.sequence)
    sequence = index.sequence if len(by) > 1 else nothing
    token = index.target if by.shape[1] > 1 else nothing
    return by.to(device=like.device, dtype=like.dtype)[sequence, token]


def rows_edited(edit: ReplaceHeads | ReplaceNeurons | ReplaceOutput, index: Index) -> Tensor:
    """Which rows of a pass an edit is made in, (row,)."""
    if edit.tokens is None:
        return torch.ones_like(index.target, dtype=torch.bool)
    return torch.isin(index.target, index.target.new_tensor(list(edit.tokens)))


def check_edits(
    edits: Sequence[Edit],
    blocks: Sequence[Parts],
    heads: Heads,
    open_attention: bool,
    of: tuple[int, int],
) -> None:
    """Refuse what cannot be edited in passes of so many sequences and tokens.

    Raises:
        ValueError: a layer, head, neuron or shape that is not there, a model whose attention is
            code of its own, a receiver that is not after its sender, or heads that leave out some
            of those that share the keys or values which are to be patched; in one line.
    """
    if edits and not open_attention:
        raise ValueError("edits: this model runs attention by code of its own; nothing is edited")
    for edit in edits:
        _check(edit, blocks, heads, of)


def _check(edit: Edit, blocks: Sequence[Parts], heads: Heads, of: tuple[int, int]) -> None:
    name, n_layers = type(edit).__name__, len(blocks)
    layers = (edit.layer, edit.sender[0]) if isinstance(edit, PatchEdge) else (edit.layer,)
    for layer in layers:
        if not 0 <= layer < n_layers:
            raise ValueError(f"{name}: layer {layer} is not one of 0 .. {n_layers - 1}")
    parts = blocks[edit.layer]
    if isinstance(edit, ReplaceNeurons):
        if parts.neurons is None:
            raise ValueError(f"{name}: layer {edit.layer} has no neurons that can be replaced")
        _one_of(name, "neuron", edit.neurons, weight_of(parts.neurons).shape[1])
        _shaped(name, edit.by, (len(edit.neurons),), of)
    elif isinstance(edit, ReplaceOutput):
        there = dict.fromkeys(sublayer for _, sublayer, _ in parts.outputs)
        if edit.sublayer not in there:
            raise ValueError(
                f"{name}: sublayer={edit.sublayer} of layer {edit.layer} is no module of its own; "
                f"choose from {', '.join(there)}"
            )
        _shaped(name, edit.by, (weight_of(parts.mixed).shape[0],), of)
    else:
        _one_of(name, "head", edit.heads, heads.n_heads)
    if isinstance(edit, ReplaceHeads):
        _shaped(name, edit.by, (len(edit.heads), heads.width), of)
    if isinstance(edit, ReplaceHeads | ReplaceNeurons | ReplaceOutput):
        _one_of(name, "token", edit.tokens or (), of[1])
    if isinstance(edit, FreezeHeads) and edit.what not in ("pattern", "values"):
        raise ValueError(f"{name}: what={edit.what}; choose from pattern, values")
    if isinstance(edit, PatchEdge):
        _check_edge(edit, heads, of)


def _check_edge(edge: PatchEdge, heads: Heads, of: tuple[int, int]) -> None:
    _one_of("PatchEdge", "sender's head", [edge.sender[1]], heads.n_heads)
    _shaped("PatchEdge", edge.by, (heads.width,), of)
    if edge.through not in THROUGH:
        raise ValueError(f"PatchEdge: through={edge.through}; choose from {', '.join(THROUGH)}")
    if edge.sender[0] >= edge.layer:
        raise ValueError(
            f"PatchEdge: sender in layer {edge.sender[0]}, receivers in layer {edge.layer}; "
            "receivers come after their sender"
        )
    if edge.through != "queries":
        n_shared = heads.n_heads // heads.n_key_heads
        groups = {head // n_shared for head in edge.heads}
        whole = {
            head for group in groups for head in range(group * n_shared, (group + 1) * n_shared)
        }
        if whole != set(edge.heads):
            raise ValueError(
                f"PatchEdge: heads={sorted(edge.heads)} share their {edge.through} with others; "
                f"give all of {sorted(whole)}"
            )


def _one_of(name: str, what: str, given: Sequence[int], n: int) -> None:
    for each in given:
        if not 0 <= each < n:
            raise ValueError(f"{name}: {what} {each} is not one of 0 .. {n - 1}")


def _shaped(name: str, by: Tensor, shape: tuple[int, ...], of: tuple[int, int]) -> None:
    each_or_one = all(given in (1, n) for given, n in zip(by.shape, of, strict=False))
    if by.ndim != 2 + len(shape) or tuple(by.shape[2:]) != shape or not each_or_one:
        raise ValueError(
            f"{name}: by has shape {tuple(by.shape)}; give ({of[0]} or 1, {of[1]} or 1, "
            f"{', '.join(map(str, shape))})"
        )
