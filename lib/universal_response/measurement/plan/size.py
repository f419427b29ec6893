"""What of an architecture decides the cost of a measurement, without memory for weights."""

from dataclasses import dataclass
from typing import Any

import torch

from universal_response.models import bridge_config, config_of, first_line, without_weights


@dataclass(frozen=True)
class Size:
    """What of an architecture decides the cost.

    Attributes:
        parameters: of the whole model; tied weights are counted once.
        block_weights: those in the matrix products of the blocks, without embedding and
            unembedding, which the engine does not multiply with, and without norms and biases.
        layers: number of blocks, L.
        width: of the residual stream.
        mlp_width: of the hidden layer of an MLP.
        heads: attention heads in a block.
        head_dim: dimension of each.
        key_value_heads: heads of the cached keys and values.
        context: the most tokens a sequence may have.
    """

    parameters: int
    block_weights: int
    layers: int
    width: int
    mlp_width: int
    heads: int
    head_dim: int
    key_value_heads: int
    context: int


def size_of(model: str) -> Size:
    """Size of a model from its configuration alone, without memory for the weights.

    Raises:
        ValueError: unknown model, or one that TransformerLens cannot bridge.
        WeightsUnavailable: the configuration of a hub id cannot be fetched.
    """
    return size_with(model, config_of(model))


def size_with(model: str, config: Any) -> Size:
    """Size of a model with this configuration.

    Raises:
        ValueError: TransformerLens cannot bridge it.
    """
    try:
        empty = without_weights(config)
        cfg = bridge_config(model, empty)
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"model={model}: cannot be loaded as a decoder-only model ({first_line(error)}); use "
            "an architecture that TransformerLens can bridge"
        ) from error
    return Size(
        parameters=sum(weight.numel() for weight in empty.parameters()),
        block_weights=_block_weights(empty),
        layers=cfg.n_layers,
        width=cfg.d_model,
        mlp_width=cfg.d_mlp or 4 * cfg.d_model,
        heads=cfg.n_heads,
        head_dim=cfg.d_head,
        key_value_heads=cfg.n_key_value_heads or cfg.n_heads,
        context=cfg.n_ctx,
    )


def _block_weights(model: Any) -> int:
    # The base model has no unembedding; what has one dimension is a norm or a bias.
    modules = [m for m in model.base_model.modules() if not isinstance(m, torch.nn.Embedding)]
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    return sum(weight.numel() for weight in weights if weight.ndim > 1)
