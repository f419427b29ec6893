"""Clean pass, perturbed passes -> inner products. The only module that runs a model.

A causal model cannot change what stands left of the perturbed token. One clean pass over the
sequences keeps every residual vector and every key and value; then, for each source i, only the
suffix i .. T-1 is run against the clean prefix. That is T (T + 1) / 2 tokens per sequence and
strength instead of T^2. Suffixes of all strengths and of several sources are laid end to end, so
that every matrix product has many rows. Hooks reduce each residual vector to inner products at
once, so no perturbed residual stream is stored, and the base model is called without its
unembedding, so no logits are computed. The limit epsilon -> 0 takes the same road with a dual
number (forward-mode differentiation) instead of a strength.
"""

import ctypes
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers.cache_utils import Cache, DynamicLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from universal_response.linear_layers import fast_linear_layers
from universal_response.suffixes import (
    Attended,
    KeysAndValues,
    Packing,
    Segment,
    attend,
    join,
    packings,
)

# On a processor measured (`benchmarks choices`); a GPU wants many more rows to be busy.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 32768, "mps": 8192}

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


@dataclass(frozen=True)
class InnerProducts:
    """All the metrics need to know of a measurement (five inner products, method page).

    With x_j the clean residual vector at token j, x'_j the perturbed one and D_j = x'_j - x_j.
    Entries with target < source are exactly zero (causality).

    Attributes:
        state_state: |x_j|^2, shape (position, sequence, target).
        response_response: D_j . D_j, shape (position, epsilon, sequence, source, target).
        response_state: D_j . x_j, same shape.
        response_source: D_j . D_i, the response at j against that at the perturbed token i.
        response_perturbation: D_j . D_i^(0), against the perturbation made at the input.
    """

    state_state: Float[Tensor, "position sequence target"]
    response_response: Float[Tensor, "position epsilon sequence source target"]
    response_state: Float[Tensor, "position epsilon sequence source target"]
    response_source: Float[Tensor, "position epsilon sequence source target"]
    response_perturbation: Float[Tensor, "position epsilon sequence source target"]


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


@torch.no_grad()
def inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    epsilons: Sequence[float],
    tokens_per_pass: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> InnerProducts:
    """Perturb every source token in turn and compare all later residual vectors with the clean.

    The perturbation is x_i^(0) -> (1 - epsilon) x_i^(0) at the transformer input (Fig. 1), for
    GPT-2 after the positional embedding. epsilon = 0 is allowed and gives 0 up to rounding.

    Args:
        tokens: token ids (sequence, token), moved to the model's device.
        model: any causal TransformerBridge, in any dtype, with or without a tokenizer.
        epsilons: perturbation strengths in [0, 1].
        tokens_per_pass: how many tokens one forward pass holds; a default by device if None.
        progress: called with the number of token-passes done, T (T + 1) / 2 in all per sequence
            and strength.

    Returns:
        InnerProducts on the model's device, in its dtype (float32 for half precision).

    Raises:
        ValueError: no strengths, one outside [0, 1], or more tokens than the model's context.
    """
    (products,) = chunked_inner_products(tokens, model, [epsilons], tokens_per_pass, progress)
    return products


@torch.no_grad()
def chunked_inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    chunks: Sequence[Sequence[float]],
    tokens_per_pass: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Generator[InnerProducts]:
    """`inner_products` of some strengths after others, so that not all need memory at once.

    One clean pass serves them all. The model is the engine's until the last chunk is taken.

    Args:
        tokens: as for `inner_products`.
        model: as for `inner_products`.
        chunks: the strengths of every chunk.
        tokens_per_pass: as for `inner_products`.
        progress: as for `inner_products`.

    Yields:
        InnerProducts of every chunk in turn.

    Raises:
        ValueError: as for `inner_products`.
    """
    for epsilons in chunks:
        if len(epsilons) == 0 or not all(0 <= epsilon <= 1 for epsilon in epsilons):
            raise ValueError(
                f"epsilons={list(epsilons)}: give at least one strength, each in [0, 1]"
            )
    with unbridged(model) as blocks:
        clean = _clean_pass(tokens, blocks, model.cfg.n_ctx)
        for epsilons in chunks:
            products = _empty(clean, len(epsilons))
            probe = _Finite(clean.states[0].new_tensor(list(epsilons)))
            for packing in _packings(blocks, clean, len(epsilons), tokens_per_pass):
                _perturbed_pass(blocks, clean, products, packing, probe)
                if progress is not None:
                    progress(packing.n_tokens)
            yield products


@torch.no_grad()
def linear_inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    tokens_per_pass: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> InnerProducts:
    """The limit epsilon -> 0 of the inner products, with D_j replaced by d x'_j / d epsilon.

    Forward-mode differentiation carries the derivative through the model beside the state: there is
    no difference of nearby vectors, so no cancellation and no step size. At the input the
    derivative is -x_i^(0) at the source and 0 elsewhere.

    Args:
        tokens: token ids (sequence, token), moved to the model's device.
        model: as for `inner_products`.
        tokens_per_pass: as for `inner_products`.
        progress: as for `inner_products`.

    Returns:
        InnerProducts with one entry along epsilon, per unit of epsilon.

    Raises:
        ValueError: as for `inner_products`.
    """
    with unbridged(model) as blocks:
        clean = _clean_pass(tokens, blocks, model.cfg.n_ctx)
        products = _empty(clean, 1)
        for packing in _packings(blocks, clean, 1, tokens_per_pass):
            with forward_ad.dual_level():
                _perturbed_pass(blocks, clean, products, packing, _Linear())
            if progress is not None:
                progress(packing.n_tokens)
    return products


@dataclass(frozen=True)
class _Clean:
    """What the perturbed passes need of the unperturbed one.

    Attributes:
        tokens: (sequence, token).
        states: of every position, the residual vectors, (sequence token, d_model).
        keys_and_values: of every layer.
    """

    tokens: Int[Tensor, "sequence token"]
    states: list[Float[Tensor, "token d_model"]]
    keys_and_values: dict[int, KeysAndValues]


@dataclass(frozen=True)
class _Finite:
    """Scaling of the source by (1 - epsilon)."""

    strengths: Float[Tensor, " epsilon"]

    def perturb(self, state: Tensor, strength: Tensor, is_source: Tensor) -> Tensor:
        factor = 1 - self.strengths[strength] * is_source
        return state * factor.to(state.dtype)[:, None]

    def response(self, state: Tensor, clean: Tensor) -> Tensor:
        return _at_least_float32(state) - clean


class _Linear:
    """The same in the limit epsilon -> 0: d/d epsilon of (1 - epsilon) x is -x."""

    def perturb(self, state: Tensor, strength: Tensor, is_source: Tensor) -> Tensor:
        return forward_ad.make_dual(state, -state * is_source[:, None])

    def response(self, state: Tensor, clean: Tensor) -> Tensor:
        return _at_least_float32(forward_ad.unpack_dual(state).tangent)


@dataclass(frozen=True)
class Blocks:
    """The Hugging Face model below its unembedding, free of the bridge.

    Attributes:
        base: called with tokens, runs the blocks.
        hooked: of every position, the module that sees the state, and whether as its input.
        open_attention: whether its attention can be given suffixes laid end to end.
    """

    base: Any
    hooked: list[tuple[torch.nn.Module, bool]]
    open_attention: bool

    @property
    def device(self) -> torch.device:
        return next(self.base.parameters()).device


@contextmanager
def unbridged(model: TransformerBridge) -> Iterator[Blocks]:
    """Take the bridge's wrappers out of the model and put `attend` into it, for a while.

    The bridge computes attention anew, to offer hooks inside it; none of them is needed here.
    """
    if any(point.fwd_hooks for point in model.hook_dict.values()):
        raise ValueError("model: hooks are attached to it; remove them with model.reset_hooks()")
    if model.compatibility_mode:
        raise ValueError("model: its weights were changed by compatibility mode; load it without")
    _keep_freed_memory()
    inner: Any = model.original_model
    hooked = _hooked_modules(model)
    wrapped = [
        (parent, name, child)
        for parent in inner.modules()
        if not isinstance(parent, GeneralizedComponent)
        for name, child in parent._modules.items()
        if isinstance(child, GeneralizedComponent)
    ]
    open_attention = bool(getattr(inner, "_supports_attention_backend", False))
    before = inner.config._attn_implementation
    try:
        for parent, name, child in wrapped:
            parent._modules[name] = child.original_component
        if open_attention:
            ALL_ATTENTION_FUNCTIONS[_ATTENTION] = attend
            inner.config._attn_implementation = _ATTENTION
        with fast_linear_layers(inner.base_model, TOKENS_PER_PASS["cpu"]):
            yield Blocks(inner.base_model, hooked, open_attention)
    finally:
        if open_attention:
            inner.config._attn_implementation = before
            del ALL_ATTENTION_FUNCTIONS[_ATTENTION]
        for parent, name, child in wrapped:
            parent._modules[name] = child


def _keep_freed_memory() -> None:
    """Let the C library keep what a layer frees for the next one, where it is glibc.

    Blocks of several megabytes otherwise go back to the system, and every layer waits for the
    pages that it maps and clears anew: an eighth of the time of a measurement on two cores.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, n_bytes in _MALLOC_OPTIONS.items():
            mallopt(option, n_bytes)


def _hooked_modules(model: TransformerBridge) -> list[tuple[torch.nn.Module, bool]]:
    modules = {}
    for component in model.modules():
        if isinstance(component, GeneralizedComponent) and component.original_component is not None:
            modules[id(component.hook_in)] = (component.original_component, True)
            modules[id(component.hook_out)] = (component.original_component, False)
    return [modules[id(model.hook_dict[position.hook])] for position in positions(model)]


def _packings(
    blocks: Blocks, clean: _Clean, n_strengths: int, tokens_per_pass: int | None
) -> Iterator[Packing]:
    budget = tokens_per_pass or TOKENS_PER_PASS.get(blocks.device.type, TOKENS_PER_PASS["cpu"])
    n_sequences, t = clean.tokens.shape
    return packings(n_sequences, t, n_strengths, budget, mixed=blocks.open_attention)


def _clean_pass(tokens: Tensor, blocks: Blocks, context: int) -> _Clean:
    tokens = torch.as_tensor(tokens)
    n_sequences, t = tokens.shape
    if t > context:
        raise ValueError(f"tokens: {t} per sequence exceed the model's context of {context}")
    clean = _Clean(tokens.to(blocks.device), [], {})

    def keep(state: Tensor, position: int) -> None:
        clean.states.append(_at_least_float32(state))

    _run(blocks, clean, Packing((Segment(0, 0, 1),), n_sequences, t), keep)
    return clean


def _empty(clean: _Clean, n_strengths: int) -> InnerProducts:
    n_sequences, t = clean.tokens.shape
    device = clean.states[0].device
    squares = torch.stack([(state * state).sum(-1).to(device) for state in clean.states])
    shape = (len(squares), n_strengths, n_sequences, t, t)
    empty = (squares.new_zeros(shape) for _ in range(4))
    return InnerProducts(squares.unflatten(1, (n_sequences, t)), *empty)


def _perturbed_pass(
    blocks: Blocks,
    clean: _Clean,
    products: InnerProducts,
    packing: Packing,
    probe: _Finite | _Linear,
) -> None:
    """Run the suffixes of a pass and write their inner products."""
    index = packing.index(clean.tokens.device)
    of_clean = index.sequence * packing.t + index.target
    row = (index.strength * packing.n_sequences + index.sequence) * packing.t + index.source
    entry = row * packing.t + index.target
    perturbation: list[Tensor] = []

    def perturb(state: Tensor) -> Tensor:
        return probe.perturb(state, index.strength, index.source == index.target)

    def reduce(state: Tensor, position: int) -> None:
        here = state.device
        x = clean.states[position].index_select(0, of_clean.to(here))
        response = probe.response(state, x)
        at_source = response.index_select(0, index.start.to(here))
        if position == 0:
            perturbation.append(at_source)
        kept = (
            products.response_response,
            products.response_state,
            products.response_source,
            products.response_perturbation,
        )
        others = (response, x, at_source, perturbation[0].to(here))
        for product, found in zip(kept, row_products(response, others), strict=True):
            product[position].view(-1).index_copy_(0, entry, found.to(entry.device))

    _run(blocks, clean, packing, reduce, perturb)


def row_products(one: Tensor, others: Sequence[Tensor]) -> Iterable[Tensor]:
    """Inner products of the rows of `one` with those of each of `others`, all (row, d_model)."""
    return [(one * other).sum(-1) for other in others]


def _run(
    blocks: Blocks,
    clean: _Clean,
    packing: Packing,
    see: Callable[[Tensor, int], object],
    perturb: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Run the blocks on the tokens of a pass, and nothing after them but the final norm.

    Args:
        blocks: the model.
        clean: its keys and values are read, or written where nothing is perturbed.
        packing: the tokens of the pass.
        see: called with the states (packed token, d_model) of every position in turn.
        perturb: what the states of the first position are replaced by.
    """

    def on_first(module: object, args: tuple) -> tuple:
        assert perturb is not None
        return (perturb(args[0].flatten(0, 1)).view_as(args[0]), *args[1:])

    def on_input(module: object, args: tuple, position: int) -> None:
        see(args[0].flatten(0, 1), position)

    def on_output(module: object, args: tuple, output: Any, position: int) -> None:
        state = output if isinstance(output, Tensor) else output[0]
        see(state.flatten(0, 1), position)

    with ExitStack() as hooks:
        if perturb is not None:
            first, _ = blocks.hooked[0]
            hooks.callback(first.register_forward_pre_hook(on_first).remove)
        for position, (module, is_input) in enumerate(blocks.hooked):
            register: Any = (
                module.register_forward_pre_hook if is_input else module.register_forward_hook
            )
            seen = partial(on_input if is_input else on_output, position=position)
            hooks.callback(register(seen).remove)
        run = _run_end_to_end if blocks.open_attention else _run_in_rows
        run(blocks, clean, packing, keep=perturb is None)


def _run_end_to_end(blocks: Blocks, clean: _Clean, packing: Packing, keep: bool) -> None:
    index = packing.index(clean.tokens.device)
    blocks.base(
        clean.tokens[index.sequence, index.target][None],
        position_ids=index.target[None],
        use_cache=False,
        suffixes=Attended(packing, clean.keys_and_values, keep),
    )


def _run_in_rows(blocks: Blocks, clean: _Clean, packing: Packing, keep: bool) -> None:
    """The same with one source, for a model whose own attention has to be used."""
    (segment,) = packing.segments
    layers: list[DynamicLayer]
    if keep:
        layers = [DynamicLayer() for _ in range(blocks.base.config.num_hidden_layers)]
    else:
        layers = [
            _PrefixLayer(*clean.keys_and_values[layer], segment.source)
            for layer in sorted(clean.keys_and_values)
        ]
    rows = clean.tokens[:, segment.source :].repeat(segment.stop - segment.first, 1)
    blocks.base(rows, past_key_values=Cache(layers=[*layers]), use_cache=True)
    if keep:
        for number, layer in enumerate(layers):
            assert layer.keys is not None
            assert layer.values is not None
            clean.keys_and_values[number] = (layer.keys, layer.values)


class _PrefixLayer(DynamicLayer):
    """Keys and values left of the source, shared by all rows of a pass and never grown.

    The rows are the sequences repeated once per strength.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys = keys[:, :, :length]
        self.values = values[:, :, :length]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        assert self.keys is not None
        assert self.values is not None
        return join(self.keys, key_states), join(self.values, value_states)


def _at_least_float32(state: Tensor) -> Tensor:
    """Differences of half-precision vectors are taken in float32, which holds them exactly."""
    return state.float() if state.dtype in (torch.float16, torch.bfloat16) else state
