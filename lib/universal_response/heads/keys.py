"""K-composition in the data: which earlier components a head's score is made of, through the key.

A score is q R k, and k is linear in the state it is made of while the scales of norms are held
fixed; so it is a sum over the components of that state: embedding, heads, MLPs and biases.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.components import components
from universal_response.activations.outputs import Outputs
from universal_response.activations.weights import LayerWeights, layer_weights
from universal_response.heads.replacing import Head
from universal_response.heads.rotary import rotations
from universal_response.propagation import Norm, read


@dataclass(frozen=True)
class KeySplit:
    """Scores of a head as sums over components of the keys' states.

    Attributes:
        names: kind, layer and head of every component; a last one for biases of the key itself.
        scores: (component, sequence, query, key), before a bound and the softmax.
        total: the scores themselves, (sequence, query, key).
    """

    names: list[tuple[str, int, int]]
    scores: Float[Tensor, "component sequence query key"]
    total: Float[Tensor, "sequence query key"]

    def along(self, offset: int, first: int) -> Float[Tensor, "component sequence"]:
        """Mean over queries q >= first of what stands at key q - offset less the mean of q's keys.

        A softmax does not see what all keys share.
        """
        t = self.total.shape[-1]
        keys = torch.arange(t, device=self.total.device)
        seen = (keys[None] <= keys[:, None]).to(self.scores)
        mean = (self.scores * seen).sum(-1) / seen.sum(-1)
        stripe = self.scores.diagonal(-offset, 2, 3)
        return (stripe[..., first - offset :] - mean[..., first:]).mean(-1)


def key_split(of: Outputs, model: TransformerBridge, receiver: Head) -> KeySplit:
    """Split the scores of a head over the components of what its keys are made of.

    Args:
        of: a run.
        model: the same model.
        receiver: layer and head whose scores are split.
    """
    layer, head = receiver
    weights = layer_weights(model)
    mine, state = weights[layer], of.states[of.inputs[layer]]
    n_sequences, t = of.tokens.shape
    places = torch.arange(t)
    query, key, _ = read(model, layer, state.flatten(0, 1), places.repeat(n_sequences))
    shared = head // mine.n_shared
    q, k = (each.unflatten(0, (n_sequences, t)) for each in (query[:, head], key[:, shared]))
    turned = rotations(model, layer, places).to(q)
    # q R(n) k = k R(n)^T q: queries as every key sees them before it is rotated.
    scale = attention_scale(model, layer)
    asked = scale * torch.einsum("sqe,kde->sqkd", q, turned)
    whole = _keys(mine, state if mine.norm is None else _normed(mine, state))
    if mine.key_bias is not None:
        whole = whole + mine.key_bias.to(whole)
    names, found = [], []
    for component in components(of, weights, layer):
        added = component.added
        part = _keys(mine, added if mine.norm is None else mine.norm.fixed(state, added))
        if mine.key_norm is not None:
            part = norm_of_heads(mine.key_norm, whole, part)
        names.append((component.kind, component.layer, component.head))
        found.append(torch.einsum("sqkd,skd->sqk", asked, part[..., shared, :]))
    total = scale * q @ k.transpose(1, 2)
    names.append(("bias", layer, head))
    found.append(total - torch.stack(found).sum(0))
    return KeySplit(names, torch.stack(found), total)


def _normed(weights: LayerWeights, state: Tensor) -> Tensor:
    assert weights.norm is not None
    return weights.norm.fixed(state, state) + weights.norm.bias.to(state)


def _keys(weights: LayerWeights, normed: Tensor) -> Float[Tensor, "sequence token key_head d_head"]:
    return torch.einsum("stm,hmd->sthd", normed, weights.keys.to(normed))


def norm_of_heads(norm: Norm, whole: Tensor, part: Tensor) -> Tensor:
    """A part of keys (.., key_head, d_head) as their norm passes it on, of each head or of all."""
    over_all = norm.gain.ndim == 1 and norm.gain.numel() != whole.shape[-1]
    if over_all:
        shape = whole.shape[-2:]
        return norm.fixed(whole.flatten(-2), part.flatten(-2)).unflatten(-1, shape)
    return norm.fixed(whole, part)


def attention_scale(model: TransformerBridge, layer: int) -> float:
    """The factor of scores."""
    attention: Any = model.blocks[layer].attn.original_component
    return float(getattr(attention, "scaling", None) or model.cfg.d_head**-0.5)
