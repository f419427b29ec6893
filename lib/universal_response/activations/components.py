"""The residual stream of a run as a sum: the embedding, what each head and MLP adds, and biases."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.activations.outputs import Outputs
from universal_response.activations.weights import LayerWeights, of_layers


@dataclass(frozen=True)
class Component:
    """One term of the sum.

    Attributes:
        kind: `embedding`, `head`, `mlp` or `bias` (of a layer's attention).
        layer: the block; -1 for the embedding.
        head: of that block; -1 for what is none.
        added: to the residual stream, (sequence, token, d_model).
    """

    kind: str
    layer: int
    head: int
    added: Float[Tensor, "sequence token d_model"]


def components(
    of: Outputs, weights: list[LayerWeights], n_layers: int | None = None
) -> Iterator[Component]:
    """What the state at the input of a block is a sum of, one term after another.

    Args:
        of: the run.
        weights: of the same model.
        n_layers: how many blocks; all if None: the last state.

    Raises:
        ValueError: the model's MLPs are no modules of their own.
    """
    mlps = of_layers(of.mlps)
    yield Component("embedding", -1, -1, of.states[0])
    for layer, mine in enumerate(weights[:n_layers]):
        rest = whole_written(of, mine, layer)
        for head in range(mine.n_heads):
            added = head_written(of, mine, layer, head)
            rest = rest - added
            yield Component("head", layer, head, added)
        yield Component("bias", layer, -1, rest)
        yield Component("mlp", layer, -1, mlps[layer] * mine.multiplier)


def head_written(
    of: Outputs, weights: LayerWeights, layer: int, head: int
) -> Float[Tensor, "sequence token d_model"]:
    """What a head adds, the scale of a norm after attention held fixed."""
    z = of.z[layer][:, :, head]
    added = z @ weights.mixed[head].to(z)
    if weights.norm_after is not None:
        added = weights.norm_after.fixed(of.attention[layer], added)
    return added * weights.multiplier


def whole_written(
    of: Outputs, weights: LayerWeights, layer: int
) -> Float[Tensor, "sequence token d_model"]:
    """What a layer's attention adds, biases included."""
    x, norm = of.attention[layer], weights.norm_after
    added = x if norm is None else norm.fixed(x, x) + norm.bias.to(x)
    return added * weights.multiplier


def rewritten(
    of: Outputs, weights: LayerWeights, layer: int, head: int, by: Tensor
) -> Float[Tensor, "sequence token d_model"]:
    """How much more a layer's attention adds where a head mixes something else, exactly."""
    x = of.attention[layer]
    more = (by[:, :, head] - of.z[layer][:, :, head]) @ weights.mixed[head].to(x)
    norm = weights.norm_after
    if norm is not None:
        more = norm.fixed(x + more, x + more) - norm.fixed(x, x)
    return torch.as_tensor(more * weights.multiplier)
