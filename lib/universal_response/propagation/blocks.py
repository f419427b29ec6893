"""The Hugging Face model inside a bridge: where its residual stream is seen, free of wrappers."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.attention import AttentionBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from universal_response.propagation.attention import attend
from universal_response.propagation.parts import Heads, Parts, parts_of

# M_MMAP_THRESHOLD, at the largest value there is, and M_TRIM_THRESHOLD of glibc's malloc.h, bytes.
_MALLOC_OPTIONS = {-3: 32 * 2**20, -1: 256 * 2**20}

_ATTENTION = "suffixes_laid_end_to_end"


@dataclass(frozen=True)
class Position:
    """One position l of the residual stream and the hook that sees it.

    Attributes:
        index: l, counted from 0 (the transformer input).
        layer: block the position belongs to; 0 for the input.
        sublayer: what wrote last: `input`, `attention`, `mlp`, or `block` where a block runs
            attention and MLP in parallel and has no state between them.
        hook: name of the hook point in the bridge.
    """

    index: int
    layer: int
    sublayer: str
    hook: str


def positions(model: TransformerBridge) -> list[Position]:
    """Positions l of the residual stream, in order: 0 .. 2L, or 0 .. L for parallel blocks.

    Raises:
        ValueError: the model has no sequential residual stream that the bridge can hook.
    """
    hooks = model.hook_dict
    found = [Position(0, 0, "input", "blocks.0.hook_resid_pre")]
    for layer in range(model.cfg.n_layers):
        mid, post = f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_resid_post"
        if mid in hooks:
            found.append(Position(len(found), layer, "attention", mid))
        found.append(Position(len(found), layer, "mlp" if mid in hooks else "block", post))
    missing = [position.hook for position in found if position.hook not in hooks]
    if missing:
        raise ValueError(
            f"model={model.cfg.model_name}: hook {missing[0]} is missing; use a decoder-only "
            "transformer that TransformerLens can bridge"
        )
    return found


@dataclass(frozen=True)
class Blocks:
    """The Hugging Face model below its unembedding, free of the bridge.

    Attributes:
        base: called with tokens, runs the blocks.
        hooked: of every position, the module that sees the state, and whether as its input.
        positions: the positions themselves.
        layers: the blocks.
        mixing: modules that look at other tokens than their own.
        parts: of each block its modules, by what they do.
        heads: of every layer.
        open_attention: whether its attention can be given suffixes laid end to end.
    """

    base: Any
    hooked: list[tuple[torch.nn.Module, bool]]
    positions: list[Position]
    layers: list[torch.nn.Module]
    mixing: list[torch.nn.Module]
    parts: list[Parts]
    heads: Heads
    open_attention: bool

    @property
    def device(self) -> torch.device:
        return next(self.base.parameters()).device


@contextmanager
def unbridged(model: TransformerBridge) -> Iterator[Blocks]:
    """Take the bridge's wrappers out of the model and put `attend` into it, for a while.

    The bridge computes attention anew, to offer hooks inside it; none of them is needed here.
    """
    if any(_of_user(point) for point in model.hook_dict.values()):
        raise ValueError("model: hooks are attached to it; remove them with model.reset_hooks()")
    if model.compatibility_mode:
        raise ValueError("model: its weights were changed by compatibility mode; load it without")
    _keep_freed_memory()
    inner: Any = model.original_model
    found = positions(model)
    bridges: Any = model.blocks
    blocks = [bridges[layer].original_component for layer in range(model.cfg.n_layers)]
    mixing: list[Any] = [
        each.original_component for each in model.modules() if isinstance(each, AttentionBridge)
    ]
    wrapped = [
        (parent, name, child)
        for parent in inner.modules()
        if not isinstance(parent, GeneralizedComponent)
        for name, child in parent._modules.items()
        if isinstance(child, GeneralizedComponent)
    ]
    open_attention = bool(getattr(inner, "_supports_attention_backend", False))
    hooked, parts = _hooked_modules(model, found), parts_of(model)
    cfg = model.cfg
    heads = Heads(cfg.n_heads, cfg.n_key_value_heads or cfg.n_heads, cfg.d_head)
    before = inner.config._attn_implementation
    try:
        for parent, name, child in wrapped:
            parent._modules[name] = child.original_component
        if open_attention:
            ALL_ATTENTION_FUNCTIONS[_ATTENTION] = attend  # stays: another pass may be under way
            inner.config._attn_implementation = _ATTENTION
        yield Blocks(inner.base_model, hooked, found, blocks, mixing, parts, heads, open_attention)
    finally:
        inner.config._attn_implementation = before
        for parent, name, child in wrapped:
            parent._modules[name] = child


def _of_user(point: Any) -> bool:
    """Whether a hook point has hooks that the bridge itself did not attach for good."""
    return any(not getattr(hook, "is_permanent", False) for hook in point.fwd_hooks)


def _keep_freed_memory() -> None:
    """Let the C library keep what a layer frees for the next one, where it is glibc.

    Blocks of several megabytes otherwise go back to the system, and every layer waits for the
    pages that it maps and clears anew: an eighth of the time of a measurement on two cores.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, n_bytes in _MALLOC_OPTIONS.items():
            mallopt(option, n_bytes)


def _hooked_modules(
    model: TransformerBridge, found: list[Position]
) -> list[tuple[torch.nn.Module, bool]]:
    modules = {}
    for component in model.modules():
        if isinstance(component, GeneralizedComponent) and component.original_component is not None:
            modules[id(component.hook_in)] = (component.original_component, True)
            modules[id(component.hook_out)] = (component.original_component, False)
    return [modules[id(model.hook_dict[position.hook])] for position in found]
