"""Oracles for edits: a Hugging Face model with hooks of its own, attention in steps.

Everything here is done to the model itself, by the names that its code gives its modules; the
library and its bridge are not asked. Rows of a pass are sequences, or the sequences each as often
as there are sources (`plain_streams` with one strength, `plain_limit`).
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from torch import Tensor
from transformers.pytorch_utils import Conv1D

_ATTENTION = ("attn", "self_attn", "attention")
_MIXING = ("c_proj", "o_proj", "dense")
_FROM_NEURONS = ("c_proj", "down_proj", "dense_4h_to_h")


def blocks(model: Any) -> Any:
    base = model.base_model
    return base.h if hasattr(base, "h") else base.layers


def _named(module: Any, names: Sequence[str]) -> Any:
    return next((getattr(module, name) for name in names if hasattr(module, name)), None)


def attention(model: Any, layer: int) -> Any:
    return _named(blocks(model)[layer], _ATTENTION)


def mixing(model: Any, layer: int) -> Any:
    """W_O as a module: its input are the z of the heads side by side."""
    return _named(attention(model, layer), _MIXING)


def from_neurons(model: Any, layer: int) -> Any:
    return _named(blocks(model)[layer].mlp, _FROM_NEURONS)


def norm(model: Any, layer: int) -> Any:
    """Before attention."""
    return _named(blocks(model)[layer], ("ln_1", "input_layernorm"))


def norm_after(model: Any, layer: int, sublayer: str) -> Any:
    """Of what a sublayer gives, inside its branch; None in most models."""
    block = blocks(model)[layer]
    if not hasattr(block, "post_feedforward_layernorm"):
        return None
    return {"attention": block.post_attention_layernorm, "mlp": block.post_feedforward_layernorm}[
        sublayer
    ]


def final_norm(model: Any) -> Any:
    return _named(model.base_model, ("norm", "ln_f", "final_layer_norm", "final_layernorm"))


def sizes(model: Any) -> tuple[int, int, int]:
    """Heads, key-value heads, width of a head."""
    config = model.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, getattr(config, "num_key_value_heads", None) or heads, width


def weight(module: Any) -> Tensor:
    """(inputs, outputs)."""
    return module.weight if isinstance(module, Conv1D) else module.weight.T


def reading(model: Any, layer: int, through: str, head: int) -> tuple[Any, slice]:
    """The module that makes a head's queries, keys or values, and which of its outputs they are."""
    inside = attention(model, layer)
    heads, key_heads, width = sizes(model)
    number = head if through == "queries" else head * key_heads // heads
    kind = ("queries", "keys", "values").index(through)
    if hasattr(inside, "c_attn"):  # all queries, all keys, all values
        module, start = inside.c_attn, (kind * heads + number) * width
    elif hasattr(inside, "query_key_value"):  # head by head, each with all three
        module, start = inside.query_key_value, (3 * number + kind) * width
    elif hasattr(inside, "qkv_proj"):
        module, start = inside.qkv_proj, ([0, heads, heads + key_heads][kind] + number) * width
    else:
        module, start = getattr(inside, f"{through[0]}_proj"), number * width
    return module, slice(start, start + width)


def last_of(model: Any, layer: int, through: str) -> Any:
    """The same module, or a norm that all heads have together (OLMo 2)."""
    module, inside = reading(model, layer, through, 0)[0], attention(model, layer)
    after = getattr(inside, f"{through[0]}_norm", None)
    together = after is not None and after.weight.shape == (module.out_features,)
    return after if together else module


def projected(model: Any, layer: int, through: str, head: int) -> Tensor:
    """W_Q, W_K or W_V of a head, (d_model, d_head)."""
    module, own = reading(model, layer, through, head)
    return weight(module)[:, own]


def by_rows(by: Tensor, like: Tensor) -> Tensor:
    """(sequence or 1, ..) -> as many rows as there are of another."""
    return by.to(like) if len(by) == 1 else by.to(like).repeat_interleave(len(like) // len(by), 0)


@contextmanager
def hooks(*handles: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def all_of(*contexts: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _with_first(output: Any, state: Tensor) -> Any:
    return (state, *output[1:]) if isinstance(output, tuple) else state


def edited_input(module: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return module.register_forward_pre_hook(lambda _, args: (change(args[0]), *args[1:]))


Places = Sequence[int] | None


def _at(tokens: Places, new: Tensor, old: Tensor) -> Tensor:
    """New at some places of sequences, or everywhere."""
    found = old.clone()
    chosen = slice(None) if tokens is None else list(tokens)
    found[:, chosen] = new[:, chosen]
    return found


def heads_replaced(
    model: Any, layer: int, heads: Sequence[int], by: Tensor, tokens: Places = None
) -> Any:
    """The z of heads become (sequence or 1, token or 1, head, d_head)."""
    width = sizes(model)[2]

    def change(mixed: Tensor) -> Tensor:
        z = mixed.unflatten(-1, (-1, width)).clone()
        z[:, :, list(heads)] = by_rows(by, mixed).expand(*z.shape[:2], -1, -1)
        return _at(tokens, z.flatten(2).view(mixed.shape), mixed)

    return hooks(edited_input(mixing(model, layer), change))


def neurons_replaced(
    model: Any, layer: int, neurons: Sequence[int], by: Tensor, tokens: Places = None
) -> Any:
    def change(active: Tensor) -> Tensor:
        found = active.clone()
        found[..., list(neurons)] = by_rows(by, active).expand(*active.shape[:2], -1)
        return _at(tokens, found, active)

    return hooks(edited_input(from_neurons(model, layer), change))


def output_replaced(
    model: Any, layer: int, sublayer: str, by: Tensor, tokens: Places = None
) -> Any:
    """What a sublayer gives, after a norm of its own, and before a multiplier."""
    module = attention(model, layer) if sublayer == "attention" else blocks(model)[layer].mlp
    module = norm_after(model, layer, sublayer) or module

    def change(_: Any, args: Any, output: Any) -> Any:
        state = _first(output)
        return _with_first(output, _at(tokens, by_rows(by, state).expand(state.shape), state))

    return hooks(module.register_forward_hook(change))


Edge = tuple[tuple[int, int], int, Sequence[int], str, Tensor]


def edges_patched(model: Any, *edges: Edge) -> Any:
    """Heads read what they would had senders mixed another z: (sender, layer, heads, through, by).

    Senders of a layer write through the norm after its attention together.
    """
    width = sizes(model)[2]
    multiplier = getattr(model.config, "residual_multiplier", 1.0)
    streams: dict[int, Tensor] = {}
    mixed: dict[int, Tensor] = {}
    outputs: dict[int, Tensor] = {}
    handles = []

    def keep(into: dict, layer: int) -> Callable:
        return lambda _, args, *output: into.__setitem__(
            layer, _first(output[0]) if output else args[0]
        )

    def written(reaching: Sequence[Edge]) -> Tensor:
        total: Any = 0
        of_layers = defaultdict(list)
        for (layer, head), *_, by in reaching:
            of_layers[layer].append((head, by))
        for layer, senders in of_layers.items():
            more, z = 0, mixed[layer].unflatten(-1, (-1, width))
            for head, by in senders:
                out = weight(mixing(model, layer))[head * width : (head + 1) * width]
                more = more + (by_rows(by, z) - z[:, :, head]) @ out
            after = norm_after(model, layer, "attention")
            if after is not None:
                more = after.forward(outputs[layer] + more) - after.forward(outputs[layer])
            total = total + multiplier * more
        return total

    def read(layer: int, through: str) -> Callable:
        def change(module: Any, args: Any, output: Tensor) -> Tensor:
            result = output.clone()
            for head in range(sizes(model)[0]):
                reaching = [e for e in edges if (e[1], e[3]) == (layer, through) and head in e[2]]
                if reaching:
                    state = streams[layer] + written(reaching)
                    state = state if norm(model, layer) is None else norm(model, layer)(state)
                    made, own = reading(model, layer, through, head)
                    found = made.forward(state)
                    result[..., own] = (found if made is module else module.forward(found))[
                        ..., own
                    ]
            return result

        return change

    for layer in {edge[0][0] for edge in edges}:
        handles += [
            mixing(model, layer).register_forward_pre_hook(keep(mixed, layer)),
            attention(model, layer).register_forward_hook(keep(outputs, layer)),
        ]
    for layer, through in {(edge[1], edge[3]) for edge in edges}:
        handles += [
            blocks(model)[layer].register_forward_pre_hook(keep(streams, layer)),
            last_of(model, layer, through).register_forward_hook(read(layer, through)),
        ]
    return hooks(*handles)


@dataclass
class Attended:
    """Of one layer, as the model's own attention in steps has them: (sequence, head, ..)."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    pattern: Tensor
    z: Tensor


Attention = Callable[[int, Attended], Tensor | None]


@contextmanager
def attending(model: Any, see: Attention) -> Iterator[None]:
    """Show every layer's attention in steps; what is returned takes the place of its z.

    Keys and values are repeated for the heads that share them.
    """
    code = sys.modules[type(model).__module__]
    eager = code.eager_attention_forward

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **named: Any):
        found, pattern = eager(module, query, key, value, *args, **named)
        shared = query.shape[1] // key.shape[1]
        key, value = (each.repeat_interleave(shared, 1) for each in (key, value))
        seen = Attended(query, key, value, pattern, found.transpose(1, 2))
        other = see(module.layer_idx, seen)
        return (found if other is None else other.transpose(1, 2)), pattern

    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    try:
        with patch.object(code, "eager_attention_forward", attend):
            yield
    finally:
        model.config._attn_implementation = before


def attended(model: Any, tokens: Tensor) -> list[Attended]:
    """Of every layer in a pass over the tokens."""
    found: dict[int, Attended] = {}
    with attending(model, found.__setitem__):
        model.base_model(tokens, use_cache=False)
    return [found[layer] for layer in sorted(found)]


def heads_frozen(model: Any, clean: list[Attended], edits: Sequence[Any]) -> Any:
    """Of heads of a layer the pattern, or the values, or both, are those of a clean run.

    Args:
        model: of Hugging Face.
        clean: the run.
        edits: each with `layer`, `heads` and `what`.
    """

    def freeze(layer: int, seen: Attended) -> Tensor:
        z = seen.z.clone()
        for head in range(z.shape[1]):
            frozen = {each.what for each in edits if each.layer == layer and head in each.heads}
            pattern, values = (
                by_rows(getattr(clean[layer], what), z) if what in frozen else getattr(seen, what)
                for what in ("pattern", "values")
            )
            if frozen:
                z[:, head] = pattern[:, head] @ values[:, head]
        return z

    return attending(model, freeze)
