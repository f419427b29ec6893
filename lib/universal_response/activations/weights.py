"""Weights of heads in one form, whatever a model keeps them in."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation import Norm, recognised


@dataclass(frozen=True)
class LayerWeights:
    """Of one attention sublayer. Several heads may share a key and a value.

    Attributes:
        queries: W_Q.
        keys: W_K.
        values: W_V.
        mixed: W_O.
        norm: before attention, or None.
        norm_after: of what attention adds, or None.
        query_norm: of queries, before they are compared, or None.
        key_norm: of keys, or None.
        key_bias: b_K, or None.
        multiplier: of what is added to the residual stream.
    """

    queries: Float[Tensor, "head d_model d_head"]
    keys: Float[Tensor, "key_head d_model d_head"]
    values: Float[Tensor, "key_head d_model d_head"]
    mixed: Float[Tensor, "head d_head d_model"]
    norm: Norm | None
    norm_after: Norm | None
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    key_bias: Float[Tensor, "key_head d_head"] | None = None
    multiplier: float = 1.0

    @property
    def n_heads(self) -> int:
        return len(self.queries)

    @property
    def n_shared(self) -> int:
        """Heads to a key."""
        return len(self.queries) // len(self.keys)

    def value_of(self, head: int) -> Float[Tensor, "d_model d_head"]:
        """W_V that a head reads by."""
        return self.values[head // self.n_shared]

    def key_of(self, head: int) -> Float[Tensor, "d_model d_head"]:
        """W_K that a head is looked at by."""
        return self.keys[head // self.n_shared]

    def ov(self, head: int) -> Float[Tensor, "d_model d_model"]:
        """W_V W_O: what a head writes for what it reads, reading by rows."""
        return self.value_of(head) @ self.mixed[head]


def layer_weights(model: TransformerBridge) -> list[LayerWeights]:
    """Of every layer of a bridge.

    Raises:
        ValueError: a norm is not of the known form.
    """
    found, config = [], model.original_model.config
    for layer in range(model.cfg.n_layers):
        block = model.blocks[layer]
        attention = block.attn
        found.append(
            LayerWeights(
                queries=attention.W_Q.detach(),
                keys=attention.W_K.detach(),
                values=attention.W_V.detach(),
                mixed=attention.W_O.detach(),
                norm=_norm(block, "ln1", model.cfg.d_model),
                norm_after=_norm(block, "ln1_post", model.cfg.d_model),
                query_norm=_norm(attention, "q_norm", attention.W_Q.shape[2]),
                key_norm=_norm(attention, "k_norm", attention.W_K.shape[2]),
                key_bias=_bias(attention.b_K, attention.W_K),
                multiplier=float(getattr(config, "residual_multiplier", 1.0)),
            )
        )
    return found


def norm_of(module: torch.nn.Module, width: int) -> Norm:
    """A norm of a model, in numbers.

    Raises:
        ValueError: it is not of the known form.
    """
    module = getattr(module, "original_component", module)
    norm = recognised(module, width)
    if norm is None:
        raise ValueError(
            f"model: {type(module).__name__} is neither LayerNorm nor RMSNorm; its heads cannot be "
            "told apart"
        )
    return norm


def _norm(block: torch.nn.Module, name: str, width: int) -> Norm | None:
    named = dict(block.named_children())
    return norm_of(named[name], width) if name in named else None


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor | None:
    return None if bias is None else bias.detach().reshape(weight.shape[0], weight.shape[2])


def of_layers(mlps: list[Tensor], dim: int = 0) -> Tensor:
    """What every MLP adds, stacked.

    Raises:
        ValueError: none was seen.
    """
    if not mlps:
        raise ValueError(
            "model: its mlp is no module of its own; what it adds is not told from other parts"
        )
    return torch.stack(mlps, dim)
