"""Neurons of an MLP: what each writes along the right logit, and what is lost without it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.outputs import Metric, Outputs
from universal_response.propagation import ReplaceNeurons, Seen, forward


def neuron_activations(
    of: Outputs, model: TransformerBridge
) -> list[Float[Tensor, "sequence token neuron"]]:
    """Of every layer what the last matrix of the MLP multiplies."""
    found: list[Tensor] = []

    def keep(seen: Seen) -> None:
        found.append(seen.value.unflatten(0, tuple(of.tokens.shape)))

    forward(of.tokens, model, observe={"neurons": keep})
    return found


def first_order_effects(
    of: Outputs,
    model: TransformerBridge,
    layer: int,
    value: Tensor,
    by: Tensor,
    metric: Metric,
) -> Float[Tensor, " neuron"]:
    """(by - activation) . gradient of the metric, mean over sequences: a ranking of neurons.

    Args:
        of: the run.
        model: the same model.
        layer: the block.
        value: activations of its neurons in this run, (sequence, token, neuron).
        by: what they are to be, of the same shape or broadcast to it.
        metric: of the run.
    """
    put = value.clone().requires_grad_()
    edit = ReplaceNeurons(layer, range(value.shape[-1]), put)
    normed = forward(of.tokens, model, edits=[edit], start=of.start(layer))
    (gradient,) = torch.autograd.grad(metric(normed).mean(), put)
    return ((by - value) * gradient).sum((0, 1))


def neurons_replaced(
    of: Outputs,
    model: TransformerBridge,
    layer: int,
    neurons: Int[Tensor, " chosen"],
    by: Float[Tensor, "1 token neuron"],
    metric: Metric,
) -> Float[Tensor, " sequence"]:
    """The metric with some neurons of a layer replaced."""
    edit = ReplaceNeurons(layer, neurons.tolist(), by[..., neurons])
    return metric(forward(of.tokens, model, edits=[edit], start=of.start(layer)))
