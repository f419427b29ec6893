"""The change of the residual stream, split exactly into what each head and each MLP adds to it.

A head's z, the sum of p v over keys, changes by p dv (its values), dp v (its pattern) and dp dv
(both at once). W_O, and the secant of a norm after attention, are linear in each; so D_j at l is
the sum over heads and parts, and over MLPs, of what stands below l.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.weights import LayerWeights, layer_weights, of_layers
from universal_response.propagation import (
    Index,
    Position,
    Seen,
    Segment,
    chunked_inner_products,
    forward,
    positions,
)

PARTS = ("values", "pattern", "both")


@dataclass(frozen=True)
class SplitChanges:
    """Changes of some pairs (source, target), and what they are made of.

    Attributes:
        sequence, source, target: of every pair, (pair,).
        state: |x_j| at every position, (pair, position).
        change: D_j, (pair, position, d_model).
        heads: what each head adds to it, by `PARTS`, (pair, layer, head, part, d_model).
        mlps: what each MLP adds, (pair, layer, d_model).
        positions: of the residual stream.
    """

    sequence: Int[Tensor, " pair"]
    source: Int[Tensor, " pair"]
    target: Int[Tensor, " pair"]
    state: Float[Tensor, "pair position"]
    change: Float[Tensor, "pair position d_model"]
    heads: Float[Tensor, "pair layer head part d_model"]
    mlps: Float[Tensor, "pair layer d_model"]
    positions: list[Position]


def split_changes(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    sources: Int[Tensor, "sequence source"],
    distances: Sequence[int],
    epsilon: float | None,
) -> SplitChanges:
    """Perturb sources and split the changes of targets at some distances from them.

    Args:
        tokens: token ids.
        model: a bridge whose attention can be opened.
        sources: which tokens of each sequence are perturbed.
        distances: dj >= 1 of the targets that are kept.
        epsilon: strength; None for the limit, per unit of strength.

    Raises:
        ValueError: a distance below 1, an MLP that is no module of its own, or what
            `chunked_inner_products` refuses.
    """
    if min(distances) < 1:
        raise ValueError(
            f"distances={list(distances)}: at dj = 0 the perturbation itself is a part; use dj >= 1"
        )
    weights, values = layer_weights(model), _values(tokens, model)
    at = sorted(set(distances))
    passes: list[_Pass] = []

    def residual(seen: Seen) -> None:
        if seen.position == 0:
            index = cast(Index, seen.index)
            passes.append(_Pass(index, at, weights, values, epsilon is None))
        passes[-1].residual(seen)

    def shown(seen: Seen) -> None:
        getattr(passes[-1], seen.kind)(seen)

    others = dict.fromkeys(("pattern", "values", "output", "normed_output"), shown)
    chunks = chunked_inner_products(
        tokens,
        model,
        [None if epsilon is None else [epsilon]],
        sources=sources,
        observe={"residual": residual} | others,
    )
    for _ in chunks:
        pass
    return _joined(passes, positions(model))


def _values(tokens: Tensor, model: TransformerBridge) -> list[Tensor]:
    """Of every layer the clean values v of all tokens, (sequence, key_head, token, d_head)."""
    found: list[Tensor] = []

    def keep(seen: Seen) -> None:
        found.append(seen.value.unflatten(0, tuple(tokens.shape)).transpose(1, 2))

    forward(tokens, model, observe={"values": keep})
    return found


class _Pass:
    """What is kept of one pass: of pairs at the asked distances only."""

    def __init__(
        self,
        index: Index,
        distances: Sequence[int],
        weights: list[LayerWeights],
        values: list[Tensor],
        limit: bool,
    ) -> None:
        apart = index.target - index.source
        self.kept = torch.isin(apart, torch.tensor(distances).to(apart)).nonzero()[:, 0]
        self.index, self.distances, self.limit = index, distances, limit
        self.weights, self.clean_values = weights, values
        self.states: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.heads: list[Tensor] = []
        self.mlps: list[Tensor] = []
        # Of the layer that is being run: its pattern by segments, and z by parts.
        self.segments: list[Seen] = []
        self.z = torch.empty(0)

    def residual(self, seen: Seen) -> None:
        self.states.append(seen.value[self.kept].norm(dim=-1))
        self.changes.append(seen.change[self.kept])

    def pattern(self, seen: Seen) -> None:
        self.segments.append(seen)

    def values(self, seen: Seen) -> None:
        """Changes of z, (pair, head, part, d_head): all of the layer's patterns have been seen."""
        v, parts, start = self.clean_values[seen.layer], [], 0
        for segment in self.segments:
            parts.append(self._of_segment(segment, v, seen.change[start:]))
            start += segment.change.shape[1] * segment.change.shape[3]
        self.z, self.segments = torch.cat(parts), []

    def _of_segment(self, seen: Seen, v: Tensor, dv: Tensor) -> Tensor:
        """p dv, dp v and dp dv of the kept queries of a segment."""
        segment = cast(Segment, seen.index)
        source, p, dp = segment.source, seen.value, seen.change[0]
        n_sequences, n_heads, length, _ = p.shape
        queries = [apart for apart in self.distances if apart < length]
        p, dp = p[:, :, queries], dp[:, :, queries]
        dv = dv[: n_sequences * length].unflatten(0, (n_sequences, length)).transpose(1, 2)
        shared = n_heads // v.shape[1]
        v, dv = (each.repeat_interleave(shared, 1) for each in (v[list(segment.sequences)], dv))
        both = dp[..., source:] @ dv
        found = [p[..., source:] @ dv, dp @ v, both * 0 if self.limit else both]
        return torch.stack(found, 3).transpose(1, 2).flatten(0, 1)

    def output(self, seen: Seen) -> None:
        if seen.sublayer == "attention":
            weights = self.weights[seen.layer]
            added = torch.einsum("nhpd,hdm->nhpm", self.z, weights.mixed.to(self.z))
            if weights.norm_after is not None:
                x, d = seen.value[self.kept], seen.change[self.kept]
                added = weights.norm_after.secant(x, d, added, self.limit)
            self.heads.append(added * weights.multiplier)

    def normed_output(self, seen: Seen) -> None:
        if seen.sublayer == "mlp":
            self.mlps.append(seen.change[self.kept] * self.weights[seen.layer].multiplier)


def _joined(passes: list[_Pass], at: list[Position]) -> SplitChanges:
    def of(name: str) -> Tensor:
        return torch.cat([getattr(each.index, name)[each.kept] for each in passes])

    def stacked(name: str) -> Tensor:
        return torch.cat([torch.stack(getattr(each, name), 1) for each in passes])

    return SplitChanges(
        sequence=of("sequence"),
        source=of("source"),
        target=of("target"),
        state=stacked("states"),
        change=stacked("changes"),
        heads=stacked("heads"),
        mlps=torch.cat([of_layers(each.mlps, 1) for each in passes]),
        positions=at,
    )


def below(position: Position, layer: int, sublayer: str) -> bool:
    """Whether what a sublayer adds is part of the residual stream at a position."""
    if position.sublayer == "input" or layer > position.layer:
        return False
    return layer < position.layer or sublayer == "attention" or position.sublayer != "attention"


def sum_error(split: SplitChanges) -> float:
    """Largest |D - sum of its parts| / |D| over pairs and positions at which something changes."""
    worst = 0.0
    for place, position in enumerate(split.positions[1:], start=1):
        d = split.change[:, place]
        heads = [n for n in range(split.heads.shape[1]) if below(position, n, "attention")]
        mlps = [n for n in range(split.mlps.shape[1]) if below(position, n, "mlp")]
        total = split.heads[:, heads].sum((1, 2, 3)) + split.mlps[:, mlps].sum(1)
        length = d.norm(dim=-1)
        off = (d - total).norm(dim=-1) / length.where(length > 0, 1)
        worst = max(worst, float(off.max()))
    return worst


def carried(split: SplitChanges) -> tuple[Tensor, Tensor, Tensor]:
    """What each part carries of C_delta = |D| / |x|: its component along D, over |x|.

    The parts below l sum to C_delta at l.

    Returns:
        Of heads (pair, position, layer, head, part), of MLPs (pair, position, layer), and C_delta
        (pair, position); 0 for what stands above a position.
    """
    length = split.change.norm(dim=-1)
    along = split.change / (length * split.state).where(length > 0, 1)[..., None]
    n_layers, n_heads, n_parts = split.heads.shape[1:4]
    heads = torch.einsum("nsm,nkm->nsk", along, split.heads.flatten(1, 3))
    heads = heads.unflatten(-1, (n_layers, n_heads, n_parts))
    mlps = torch.einsum("nsm,nlm->nsl", along, split.mlps)
    for place, position in enumerate(split.positions):
        for layer in range(n_layers):
            if not below(position, layer, "attention"):
                heads[:, place, layer] = 0
            if not below(position, layer, "mlp"):
                mlps[:, place, layer] = 0
    return heads, mlps, length / split.state
