"""The modules of a block, by what they do."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Heads:
    """How many there are in a layer.

    Attributes:
        n_heads: of queries.
        n_key_heads: of keys and values, each shared by as many heads.
        width: of what a head mixes, d_head.
    """

    n_heads: int
    n_key_heads: int
    width: int


@dataclass(frozen=True)
class Parts:
    """Of one block; None for what it does not have as a module of its own.

    Attributes:
        norm: before attention.
        attention: gives what attention adds to the residual stream, before a norm of its own.
        mixed: the matrix that attention ends with, W_O.
        attention_norm: after attention.
        mlp: gives what the MLP adds, before a norm of its own.
        neurons: the matrix that the MLP ends with; neurons are its input.
        mlp_norm: after the MLP.
        multiplier: of what both add.
    """

    norm: Any
    attention: Any
    mixed: Any
    attention_norm: Any
    mlp: Any
    neurons: Any
    mlp_norm: Any
    multiplier: float = 1.0

    @property
    def outputs(self) -> list[tuple[str, str, torch.nn.Module]]:
        """Kind, sublayer and module of what gives the output of a sublayer, normed or not."""
        found = []
        for sublayer, module, after in (
            ("attention", self.attention, self.attention_norm),
            ("mlp", self.mlp, self.mlp_norm),
        ):
            if module is not None:
                found += [
                    ("output", sublayer, module),
                    ("normed_output", sublayer, module if after is None else after),
                ]
        return found


def parts_of(model: TransformerBridge) -> list[Parts]:
    """Of every block of a bridge.

    A sublayer that is no module of its own, or adds the residual stream itself, is None.
    """
    found = []
    multiplier = float(getattr(model.original_model.config, "residual_multiplier", 1.0))
    for layer in range(model.cfg.n_layers):
        bridge = model.blocks[layer]
        named = dict(bridge.named_children())
        inside = {name: _original(part) for name, part in named.items()}
        sublayers = {}
        for name in ("attn", "mlp"):
            module = inside[name]
            alone = module is not bridge.original_component
            alone = alone and "residual" not in signature(module.forward).parameters
            sublayers[name] = module if alone else None
        within = {
            name: {k: _original(v) for k, v in named[name].named_children()}
            for name in ("attn", "mlp")
        }
        found.append(
            Parts(
                norm=inside.get("ln1"),
                attention=sublayers["attn"],
                mixed=within["attn"].get("o"),
                attention_norm=inside.get("ln1_post"),
                mlp=sublayers["mlp"],
                neurons=within["mlp"].get("out"),
                mlp_norm=inside.get("ln2_post"),
                multiplier=multiplier,
            )
        )
    return found


def _original(part: Any) -> Any:
    return getattr(part, "original_component", part)
