"""The parts of a circuit: a head or an MLP at one place of a problem, and edits that replace them.

Where a node is left out it gives what it gives at this place on the mean over problems; patched, it
gives what it gives there in another run.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from universal_response.activations import Outputs, mean_by_position
from universal_response.propagation import Edit, ReplaceHeads, ReplaceOutput


@dataclass(frozen=True, order=True)
class Node:
    """A head or an MLP at a place.

    Attributes:
        layer: the block.
        head: of that block; None for its MLP.
        place: of the sequence.
    """

    layer: int
    head: int | None
    place: int


def all_nodes(n_layers: int, n_heads: int, places: Iterable[int]) -> list[Node]:
    """Heads and MLPs of all layers at some places."""
    parts = (*range(n_heads), None)
    return [
        Node(layer, part, place) for place in places for layer in range(n_layers) for part in parts
    ]


def replaced(nodes: Iterable[Node], by: Outputs) -> list[Edit]:
    """Edits that let nodes give what they give in another run, of as many problems or of one."""
    places: dict[tuple[int, int | None], list[int]] = defaultdict(list)
    for node in nodes:
        places[node.layer, node.head].append(node.place)
    return [
        ReplaceOutput(layer, "mlp", by.mlps[layer], at)
        if head is None
        else ReplaceHeads(layer, [head], by.z[layer][:, :, [head]], at)
        for (layer, head), at in places.items()
    ]


def mean_over_problems(of: Outputs) -> Outputs:
    """A run that gives everywhere the mean of another over its problems, place by place."""
    mlps = [one.mean(0, keepdim=True) for one in of.mlps]
    return replace(of, z=mean_by_position(of), mlps=mlps)


def moved(of: Outputs, source: int, target: int) -> Outputs:
    """A run whose heads and MLPs give at one place what they give at another."""

    def at(each: Sequence[Tensor]) -> list[Tensor]:
        found = [one.clone() for one in each]
        for one, other in zip(found, each, strict=True):
            one[:, target] = other[:, source]
        return found

    return replace(of, z=at(of.z), mlps=at(of.mlps))
