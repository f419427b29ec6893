"""Direct logit attribution: what each component writes along the direction of the right logit.

With the scale of the final norm held fixed, the logit difference is a sum over components: the
embedding, heads, MLPs and biases.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.components import components, rewritten
from universal_response.activations.logits import Unembedding
from universal_response.activations.outputs import Metric, Outputs
from universal_response.activations.weights import layer_weights
from universal_response.heads.behaviour import queries
from universal_response.propagation import Start, forward


@dataclass(frozen=True)
class Attribution:
    """Of the logit difference of every query of the second block.

    Attributes:
        embedding: of the state at the input, (sequence, query).
        heads: (layer, head, sequence, query).
        mlps: (layer, sequence, query).
        biases: of attention, of the final norm and of the unembedding, (sequence, query).
    """

    embedding: Float[Tensor, "sequence query"]
    heads: Float[Tensor, "layer head sequence query"]
    mlps: Float[Tensor, "layer sequence query"]
    biases: Float[Tensor, "sequence query"]

    @property
    def total(self) -> Float[Tensor, "sequence query"]:
        """The logit difference."""
        return self.embedding + self.heads.sum((0, 1)) + self.mlps.sum(0) + self.biases


def direct_attribution(
    of: Outputs,
    model: TransformerBridge,
    unembedding: Unembedding,
    scale_of: Outputs | None = None,
) -> Attribution:
    """Split the logit difference of a run into components, the scale of norms held fixed.

    Args:
        of: the run.
        model: the same model.
        unembedding: of the model.
        scale_of: a run of the same tokens whose scale of the final norm is taken; `of` if None.

    Raises:
        ValueError: logits with a cap, which are no sum.
    """
    if unembedding.cap is not None:
        raise ValueError("model: its logits have a cap; they are no sum over components")
    t0 = of.tokens.shape[1] // 2
    last = (scale_of or of).states[-1][:, queries(t0)]
    direction, constant = _directions(of, unembedding)
    found: dict[str, list[Tensor]] = {"embedding": [], "head": [], "mlp": [], "bias": [constant]}
    for component in components(of, layer_weights(model)):
        part = unembedding.norm.fixed(last, component.added[:, queries(t0)])
        found[component.kind].append((part * direction).sum(-1))
    (embedding,), n_layers = found["embedding"], len(of.z)
    return Attribution(
        embedding,
        torch.stack(found["head"]).unflatten(0, (n_layers, -1)),
        torch.stack(found["mlp"]),
        torch.stack(found["bias"]).sum(0),
    )


def _directions(of: Outputs, unembedding: Unembedding) -> tuple[Tensor, Tensor]:
    """Right row of the unembedding less the mean of the others, by query, and what is constant."""
    t0 = of.tokens.shape[1] // 2
    block = of.tokens[:, :t0].to(of.normed.device)
    rows = unembedding.weight[block].to(of.normed.dtype)
    other = (block[:, None] != block[:, 1:, None]).to(rows)
    mean = other @ rows / other.sum(-1, keepdim=True)
    direction = (rows[:, 1:] - mean) * unembedding.multiplier
    constant = (direction * unembedding.norm.bias.to(rows)).sum(-1)
    if unembedding.bias is not None:
        bias = unembedding.bias[block].to(rows)
        of_others = (other * bias[:, None]).sum(-1) / other.sum(-1)
        constant = constant + (bias[:, 1:] - of_others) * unembedding.multiplier
    return direction, constant


def direct_effects(
    of: Outputs,
    model: TransformerBridge,
    by: list[Tensor],
    unembedding: Unembedding,
    metric: Metric,
) -> Float[Tensor, "layer head sequence"]:
    """The metric with one head replaced for the final norm alone: nothing in between reacts.

    The difference to `replacing.each_replaced` is the indirect effect.

    Args:
        of: the run.
        model: the same model.
        by: of every layer what its heads are to mix.
        unembedding: of the model.
        metric: of the state after the final norm.
    """
    last, found = of.states[-1], []
    for layer, weights in enumerate(layer_weights(model)):
        more = (rewritten(of, weights, layer, head, by[layer]) for head in range(weights.n_heads))
        found.append(torch.stack([metric(unembedding.normed(last + each)) for each in more]))
    return torch.stack(found)


def attribution_patching(
    of: Outputs, model: TransformerBridge, by: list[Tensor], metric: Metric
) -> Float[Tensor, "layer head sequence"]:
    """First-order estimate of how the metric changes with each head replaced: (by - z) . gradient.

    One pass forward and one backward for all heads, in place of one pass for each.
    """
    mixed: list[Tensor] = []
    begin = Start(0, of.states[0].clone().requires_grad_())
    normed = forward(
        of.tokens, model, observe={"z": lambda seen: mixed.append(seen.value)}, start=begin
    )
    gradients = torch.autograd.grad(metric(normed).sum(), mixed)
    return torch.stack(
        [
            ((other - z) * gradient.view(z.shape)).sum((1, 3)).T
            for other, z, gradient in zip(by, of.z, gradients, strict=True)
        ]
    )
