"""Independent oracles: full forward passes on whole sequences, nothing carried or kept.

`streams` runs a bridge with the bridge's own hooks. `plain_streams` and `plain_limit` run the
Hugging Face model itself, in exact double precision, and know nothing of the bridge.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from transformer_lens.model_bridge import TransformerBridge
from transformers.models.bloom import modeling_bloom


@dataclass
class Streams:
    """Residual vectors of the clean and of the perturbed runs.

    Attributes:
        clean: (position, sequence, token, d_model).
        perturbed: (position, epsilon, sequence, source, token, d_model).
    """

    clean: Tensor
    perturbed: Tensor

    @property
    def change(self) -> Tensor:
        """D = x' - x, (position, epsilon, sequence, source, target, d_model)."""
        return self.perturbed - self.clean[:, None, :, None]


@dataclass
class Responses:
    """What a change of one token makes of the residual vectors of all.

    Attributes:
        clean: (position, sequence, token, d_model).
        change: D = x' - x, or dx'/d epsilon with an epsilon dimension of size 1, of shape
            (position, epsilon, sequence, source, target, d_model).
    """

    clean: Tensor
    change: Tensor

    @property
    def perturbed(self) -> Tensor:
        """x', (position, epsilon, sequence, source, target, d_model); of finite changes only."""
        return self.clean[:, None, :, None] + self.change


def hook_names(model: TransformerBridge) -> list[str]:
    names = ["blocks.0.hook_resid_pre"]
    for layer in range(model.cfg.n_layers):
        for kind in ("mid", "post"):
            name = f"blocks.{layer}.hook_resid_{kind}"
            if name in model.hook_dict:
                names.append(name)
    return names


def streams(model: TransformerBridge, tokens: Tensor, epsilons: list[float]) -> Responses:
    """Full forward passes of a bridge: x_i -> (1 - epsilon) x_i, and the difference.

    Args:
        model: a bridge.
        tokens: (sequence, token).
        epsilons: strengths.

    Returns:
        Responses, (position, epsilon, sequence, source, target, d_model).
    """
    names = hook_names(model)

    def run(tokens: Tensor, weakening: Tensor) -> Tensor:
        stored = []

        def weaken(x: Tensor, hook: object) -> Tensor:
            return x - weakening.to(x)[..., None] * x

        def store(x: Tensor, hook: object) -> None:
            stored.append(x.detach().clone())

        with torch.no_grad():
            model.run_with_hooks(
                tokens, fwd_hooks=[(names[0], weaken), *((n, store) for n in names)]
            )
        return torch.stack(stored)

    sequences, t = tokens.shape
    weakening = torch.tensor(epsilons, dtype=torch.float64)[:, None, None, None] * torch.eye(t)
    weakening = weakening.expand(-1, sequences, -1, -1)
    change = _each_beside_clean(run, tokens, weakening)
    return Responses(run(tokens, torch.zeros(tokens.shape)), change)


def _each_beside_clean(
    run: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, what: Tensor
) -> Tensor:
    """What each change makes of the states of a pass over its sequence.

    All are sequences of one pass, which is as if each had its own but for the time that takes. The
    clean pass is of as many sequences: what is the same in both is so to the last bit.

    Args:
        run: (tokens (sequence, token), changes (sequence, token, ...)) -> states (position,
            sequence, token, d_model).
        tokens: (sequence, token).
        what: changes, (epsilon, sequence, source, token, ...).

    Returns:
        (position, epsilon, sequence, source, target, d_model).
    """
    several = tokens[:, None].expand(what.shape[:4]).flatten(0, 2)
    changed, clean = (run(several, each.flatten(0, 2)) for each in (what, torch.zeros_like(what)))
    return (changed - clean).unflatten(1, what.shape[:3])


# The module of a block that reads the residual stream after attention; a norm for most.
_READS_AFTER_ATTENTION = {
    "gpt2": "ln_2",
    "gpt_neo": "ln_2",
    "opt": "final_layer_norm",
    "gemma2": "pre_feedforward_layernorm",
    "gemma3_text": "pre_feedforward_layernorm",
    "olmo2": "mlp",
}
# What says in a configuration that attention and MLP read the same state.
_PARALLEL_FAMILIES = ("gptj", "phi", "cohere")
_PARALLEL_SWITCHES = ("use_parallel_residual", "parallel_attn", "new_decoder_architecture")


def _widened(argument: Any) -> Any:
    return torch.float64 if argument is torch.float32 else argument


class _Uncast(TorchFunctionMode):
    """Every float32 that a function is asked for becomes float64."""

    def __torch_function__(
        self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if not types and function.__name__ == "__get__":
            return function(*args)  # an attribute, as most calls are, casts nothing
        if function is Tensor.float:
            function = Tensor.double
        named = {name: _widened(each) for name, each in (kwargs or {}).items()}
        args = tuple([_widened(each) for each in args])
        of_subclass = [each for each in types if each not in (Tensor, nn.Parameter)]
        if of_subclass and torch._C._is_torch_function_enabled():
            # A mode is off while it serves a function; what the subclass computes is meant too.
            with _Uncast():
                return of_subclass[0].__torch_function__(function, types, args, named)
        result = function(*args, **named)
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            raise TypeError(f"{function.__name__}: gives float32 inside a float64 model")
        return result


@contextmanager
def uncast() -> Iterator[None]:
    """Switch off the float32 casts inside a float64 model of Hugging Face.

    They stand in norms, softmax, rotary embeddings and the attention of GPT-Neo and GPT-J, and make
    the model a step function of steps near 1e-7. Without them it is smooth to rounding in float64.

    Raises:
        TypeError: some function gives float32 all the same, for one because the model is float32.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Uncast():
            yield
    finally:
        torch.set_default_dtype(before)


def plain_streams(
    model: nn.Module,
    tokens: Tensor,
    epsilons: list[float],
    perturb: Callable[[Tensor], Tensor] = torch.neg,
    position: int = 0,
) -> Responses:
    """Full forward passes of whole sequences, one per source and strength, and the difference.

    Args:
        model: of Hugging Face, in float64, without a bridge.
        tokens: (sequence, token).
        epsilons: strengths, of either sign.
        perturb: clean states at the source (sequence, d_model) -> direction, the same shape. The
            change made is D_i = epsilon times direction, by default -epsilon x_i.
        position: index l of the residual stream at which the change is made.

    Returns:
        Responses, (position, epsilon, sequence, source, target, d_model). Positions are 0 for the
        input of the first block, then the state after attention has been added and after the MLP
        has, in turn; of parallel blocks only the state after the block.
    """

    def run(tokens: Tensor, added: Tensor) -> Tensor:
        return torch.stack(_states(model, tokens, position, added))

    with torch.no_grad(), _exact(model):
        clean = torch.stack(_states(model, tokens))
        strengths = torch.tensor(epsilons, dtype=torch.float64)[:, None, None, None, None]
        changes = strengths * _directions(clean[position], perturb)
        return Responses(clean, _each_beside_clean(run, tokens, changes))


def plain_limit(
    model: nn.Module,
    tokens: Tensor,
    perturb: Callable[[Tensor], Tensor] = torch.neg,
    position: int = 0,
) -> Responses:
    """dx'/d epsilon at epsilon = 0 by forward-mode differentiation of the whole model.

    Args:
        model: as for `plain_streams`.
        tokens: (sequence, token).
        perturb: as for `plain_streams`.
        position: as for `plain_streams`.

    Returns:
        Responses as of `plain_streams`, with an epsilon dimension of size 1.
    """
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    with torch.no_grad(), _exact(model):
        clean = torch.stack(_states(model, tokens))
        directions = _directions(clean[position], perturb)
        several = tokens[:, None].expand(directions.shape[:3]).flatten(0, 1)

        def states(epsilon: Tensor) -> Tensor:
            return torch.stack(
                _states(model, several, position, epsilon * directions.flatten(0, 1))
            )

        change = torch.func.jvp(states, (zero,), (one,))[1]
    return Responses(clean, change.unflatten(1, directions.shape[:2])[:, None])


def sublayers(model: nn.Module) -> list[str]:
    """What wrote the state of each position last, by the library's names."""
    parallel = _reads_after_attention(model) is None
    written = ["block"] if parallel else ["attention", "mlp"]
    return ["input", *written * len(_blocks(model))]


def _directions(states: Tensor, perturb: Callable[[Tensor], Tensor]) -> Tensor:
    """Of states (sequence, token, d_model), (sequence, source, token, d_model): zero but there."""
    found = torch.zeros_like(states)[:, None].repeat(1, states.shape[1], 1, 1)
    for source in range(states.shape[1]):
        found[:, source, source] = perturb(states[:, source])
    return found


@contextmanager
def _exact(model: Any) -> Iterator[None]:
    """Attention in steps, functions that can be differentiated forward, and no casts.

    Where Falcon has alibi, its code in steps adds it twice (transformers 5.23): it is in the mask
    already. The fused function, which adds the mask alone, is right. The GELU of Bloom comes with a
    derivative of its own, backward only; the function behind it does not.
    """
    in_steps = patch.object(modeling_bloom.GeLUFunction, "apply", modeling_bloom.bloom_gelu_forward)
    before = model.config._attn_implementation
    model.config._attn_implementation = "sdpa" if model.config.model_type == "falcon" else "eager"
    try:
        with uncast(), in_steps, sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        model.config._attn_implementation = before


def _blocks(model: Any) -> nn.ModuleList:
    base = getattr(model.base_model, "decoder", model.base_model)
    return base.h if hasattr(base, "h") else base.layers


def _reads_after_attention(model: Any) -> str | None:
    """Name of the module of a block that reads the state after attention; None if parallel."""
    config = model.config
    switches = (getattr(config, name, False) for name in _PARALLEL_SWITCHES)
    if config.model_type in _PARALLEL_FAMILIES or any(switches):
        return None
    return _READS_AFTER_ATTENTION.get(config.model_type, "post_attention_layernorm")


def _states(
    model: Any, tokens: Tensor, position: int = 0, added: Tensor | None = None
) -> list[Tensor]:
    """States of every position, each (sequence, token, d_model), in a pass over `tokens`.

    Args:
        model: as for `plain_streams`.
        tokens: (sequence, token).
        position: where `added` is added.
        added: (sequence, token, d_model), or nothing.
    """
    states: list[Tensor] = []
    reader = _reads_after_attention(model)

    def add(state: Tensor) -> Tensor:
        return state if added is None else state + added.view_as(state)

    def passing(state: Tensor) -> Tensor:
        state = add(state) if len(states) == position else state
        states.append(state.view(*tokens.shape, -1))
        return state

    def on_input(module: object, args: tuple) -> tuple:
        return (passing(args[0]), *args[1:])

    def on_output(module: object, args: tuple, output: Any) -> Any:
        state = output if isinstance(output, Tensor) else output[0]
        if reader is not None and len(states) == position + 1:
            # The block kept the state after attention aside, where no hook reaches it, to add the
            # MLP to. What the MLP was shown has to be added there, too.
            state = add(state)
        state = passing(state)
        return state if isinstance(output, Tensor) else (state, *output[1:])

    blocks = _blocks(model)
    handles = [blocks[0].register_forward_pre_hook(on_input)]
    for block in blocks:
        if reader is not None:
            handles.append(getattr(block, reader).register_forward_pre_hook(on_input))
        handles.append(block.register_forward_hook(on_output))
    try:
        model.base_model(tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return states


def inner_products(found: Streams | Responses) -> dict[str, Tensor]:
    """By the names of the library's fields, (position, epsilon, sequence, source, target).

    `perpendicular` only of `Responses`.
    """
    d = found.change
    x = found.clean[:, None, :, None]
    at_source = torch.stack([d[..., i, i, :] for i in range(d.shape[3])], dim=3)[..., None, :]
    products = {
        "state_state": torch.linalg.vector_norm(found.clean, dim=-1) ** 2,
        "response_response": torch.linalg.vector_norm(d, dim=-1) ** 2,
        "response_state": (d * x).sum(-1),
        "response_source": (d * at_source).sum(-1),
        "response_perturbation": (d * at_source[:1]).sum(-1),
        "perpendicular": torch.linalg.vector_norm(across(d, x), dim=-1) ** 2,
    }
    return products


def across(d: Tensor, x: Tensor) -> Tensor:
    """The part of d perpendicular to x; d itself where x vanishes."""
    squared = (x * x).sum(-1, keepdim=True)
    along = (d * x).sum(-1, keepdim=True) / torch.where(squared > 0, squared, 1)
    return d - along * x


def metrics(found: Streams | Responses) -> dict[str, Tensor]:
    """The metrics from the residual vectors themselves, in double precision."""
    clean, d = found.clean.double()[:, None, :, None], found.change.double()
    perturbed = found.perturbed.double()
    at_source = torch.stack([d[..., i, i, :] for i in range(d.shape[3])], dim=3)[..., None, :]
    length = torch.linalg.vector_norm
    return {
        "delta": length(d, dim=-1) / length(clean, dim=-1),
        "phi": 1 - cosine(perturbed, clean),
        "theta_source": cosine(d, at_source),
        "theta_state": cosine(d, clean),
        "theta_perturbation": cosine(d, at_source[:1]),
    }


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the angle between vectors; 0 where one of them vanishes."""
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    return torch.where(lengths > 0, (a * b).sum(-1) / lengths, 0.0)


def response_function(matrix: Tensor) -> Tensor:
    """Mean of C(i, i + dj) over all valid i."""
    t = matrix.shape[-1]
    means = []
    for delta_j in range(t):
        entries = [matrix[..., i, i + delta_j] for i in range(t - delta_j)]
        means.append(torch.stack(entries).mean(0))
    return torch.stack(means, dim=-1)
