"""Ablation and activation patching: what a run gives when heads mix something else.

Replaced by its mean over other sequences, a head still gives what it gives to any text of this kind
(mean ablation); by zeros it leaves the distribution that the rest of the model knows; by what it
mixes in another run, it tells what this run lacks (patching).
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.outputs import Metric, Outputs
from universal_response.propagation import (
    Edit,
    PatchEdge,
    ReplaceHeads,
    Through,
    first_layer,
    forward,
)

Head = tuple[int, int]  # layer, head
# Of every layer what its heads mix, (sequence or 1, token or 1, head, d_head).
By = Sequence[Tensor]


def replaced(heads: Iterable[Head], by: By) -> list[Edit]:
    """Edits that replace what some heads mix.

    Args:
        heads: which, by layer and head.
        by: of every layer what its heads are to mix.
    """
    return [
        ReplaceHeads(layer, chosen, by[layer][:, :, chosen])
        for layer, chosen in by_layer(heads).items()
    ]


def by_layer(heads: Iterable[Head]) -> dict[int, list[int]]:
    """Heads of every layer that has some of them."""
    found: dict[int, list[int]] = {}
    for layer, head in heads:
        found.setdefault(layer, []).append(head)
    return found


def run(
    of: Outputs, model: TransformerBridge, edits: Sequence[Edit], metric: Metric
) -> Float[Tensor, " sequence"]:
    """The metric of an edited run, which begins at the first layer that is edited."""
    start = of.start(min(map(first_layer, edits))) if edits else None
    return metric(forward(of.tokens, model, edits=edits, start=start))


def each_replaced(
    of: Outputs, model: TransformerBridge, by: By, metric: Metric
) -> Float[Tensor, "layer head sequence"]:
    """The metric with one head replaced, for every head in turn."""
    found = [
        torch.stack(
            [run(of, model, replaced([(layer, head)], by), metric) for head in range(z.shape[2])]
        )
        for layer, z in enumerate(of.z)
    ]
    return torch.stack(found)


def edge_patched(
    of: Outputs,
    model: TransformerBridge,
    sender: Head,
    receivers: Iterable[Head],
    through: Through,
    by: By,
    metric: Metric,
) -> Float[Tensor, " sequence"]:
    """The metric where only some heads read another output of a sender (path patching).

    Args:
        of: the run.
        model: the same model.
        sender: layer and head.
        receivers: heads of later layers; where they share keys and values, all that do.
        through: `queries`, `keys` or `values` of the receivers.
        by: as for `replaced`.
        metric: of the run.
    """
    return run(of, model, edges(sender, receivers, through, by), metric)


def edges(sender: Head, receivers: Iterable[Head], through: Through, by: By) -> list[Edit]:
    """Edits that let some heads read another output of a sender."""
    other = by[sender[0]][:, :, sender[1]]
    return [
        PatchEdge(sender, layer, chosen, through, other)
        for layer, chosen in by_layer(receivers).items()
    ]


def all_heads(of: Outputs) -> list[Head]:
    """Layer and head of all."""
    return [(layer, head) for layer, z in enumerate(of.z) for head in range(z.shape[2])]


def kept(of: Outputs, heads: Iterable[Head], by: By) -> list[Edit]:
    """Edits that replace all heads but some: the circuit of those alone, with all MLPs."""
    return replaced(sorted(set(all_heads(of)) - set(heads)), by)
