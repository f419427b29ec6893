"""Clean pass, perturbed passes -> inner products. The only module that runs a model.

A causal model cannot change what stands left of the perturbed token. One clean pass over the
sequences keeps every residual vector and every key and value; then, for each source i, only the
suffix i .. T-1 is run against the cached prefix, with all perturbation strengths and sequences as
batch rows. That is T (T + 1) / 2 tokens per sequence and strength instead of T^2. The hooks reduce
each residual vector to inner products at once, so no perturbed residual stream is stored, and the
base model is called without its unembedding, so no logits are computed. The limit epsilon -> 0
takes the same road with a dual number (forward-mode differentiation) instead of a strength.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import forward_ad
from transformer_lens.model_bridge import TransformerBridge
from transformers.cache_utils import Cache, DynamicLayer

# Activations of this many tokens stay in the processor's cache between two matrix products;
# a GPU wants many more rows to be busy.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 32768, "mps": 8192}


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
    """All the metrics need to know of a measurement (DESIGN: five inner products).

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
    if len(epsilons) == 0 or not all(0 <= epsilon <= 1 for epsilon in epsilons):
        raise ValueError(f"epsilons={list(epsilons)}: give at least one strength, each in [0, 1]")
    clean = _clean_pass(tokens, model)
    products = _empty(clean, len(epsilons))
    device, dtype = clean.states.device, clean.states.dtype
    strengths = torch.tensor(list(epsilons), dtype=dtype, device=device)
    budget = tokens_per_pass or TOKENS_PER_PASS.get(device.type, TOKENS_PER_PASS["cpu"])
    for source in range(clean.tokens.shape[1]):
        rows_tokens = clean.tokens[:, source:].numel()
        for chunk in _chunks(len(strengths), budget // rows_tokens):
            probe = _FiniteProbe(strengths[chunk])
            _perturbed_pass(model, clean, products, source, chunk, probe)
            if progress is not None:
                progress(rows_tokens * len(probe))
    return products


@torch.no_grad()
def linear_inner_products(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    progress: Callable[[int], object] | None = None,
) -> InnerProducts:
    """The limit epsilon -> 0 of the inner products, with D_j replaced by d x'_j / d epsilon.

    Forward-mode differentiation carries the derivative through the model beside the state: there is
    no difference of nearby vectors, so no cancellation and no step size. At the input the
    derivative is -x_i^(0) at the source and 0 elsewhere.

    Args:
        tokens: token ids (sequence, token), moved to the model's device.
        model: as for `inner_products`.
        progress: as for `inner_products`.

    Returns:
        InnerProducts with one entry along epsilon, per unit of epsilon.

    Raises:
        ValueError: more tokens than the model's context.
    """
    clean = _clean_pass(tokens, model)
    products = _empty(clean, 1)
    for source in range(clean.tokens.shape[1]):
        with forward_ad.dual_level():
            _perturbed_pass(model, clean, products, source, slice(0, 1), _LinearProbe())
        if progress is not None:
            progress(clean.tokens[:, source:].numel())
    return products


@dataclass(frozen=True)
class _CleanPass:
    """What the perturbed passes need of the unperturbed one: residual vectors, keys and values."""

    tokens: Int[Tensor, "sequence token"]
    states: Float[Tensor, "position sequence token d_model"]
    layers: list[DynamicLayer]


class _PrefixLayer(DynamicLayer):
    """Keys and values left of the source, shared by all rows of a pass and never grown.

    The rows are the sequences repeated once per strength. Joining the prefix to the suffix here,
    one layer at a time, keeps one layer's copy in memory instead of the whole cache's.
    """

    def __init__(self, clean: DynamicLayer, length: int) -> None:
        super().__init__()
        assert clean.keys is not None
        assert clean.values is not None
        self.lazy_initialization(clean.keys, clean.values)
        self.keys = clean.keys[:, :, :length]
        self.values = clean.values[:, :, :length]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        return self._join(self.keys, key_states), self._join(self.values, value_states)

    @staticmethod
    def _join(prefix: Tensor | None, suffix: Tensor) -> Tensor:
        if prefix is None or prefix.shape[-2] == 0:
            return suffix
        repeats = suffix.shape[0] // prefix.shape[0]
        rows = prefix.expand(repeats, *prefix.shape).flatten(0, 1)
        return torch.cat([rows, suffix], dim=-2)


def _chunks(n: int, size: int) -> Iterator[slice]:
    size = max(size, 1)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _run(model: TransformerBridge, tokens: Tensor, cache: Cache, hooks: list) -> None:
    """Run the blocks, and nothing after them but the final norm."""
    base: Any = model.original_model.base_model
    with model.hooks(fwd_hooks=hooks):
        base(tokens, past_key_values=cache, use_cache=True)


def _clean_pass(tokens: Tensor, model: TransformerBridge) -> _CleanPass:
    tokens = torch.as_tensor(tokens)
    if tokens.shape[1] > model.cfg.n_ctx:
        raise ValueError(
            f"tokens: {tokens.shape[1]} per sequence exceed the model's context of "
            f"{model.cfg.n_ctx}"
        )
    tokens = tokens.to(next(model.original_model.parameters()).device)
    states: list[Tensor] = []

    def keep(state: Tensor, hook: object) -> None:
        states.append(_at_least_float32(state))

    # Not the model's own cache: that of a sliding-window layer forgets tokens left of its window.
    layers = [DynamicLayer() for _ in range(model.cfg.n_layers)]
    hooks = [(position.hook, keep) for position in positions(model)]
    _run(model, tokens, Cache(layers=[*layers]), hooks)
    return _CleanPass(tokens, torch.stack(states), layers)


def _empty(clean: _CleanPass, n_strengths: int) -> InnerProducts:
    n_positions, n_sequences, t, _ = clean.states.shape
    shape = (n_positions, n_strengths, n_sequences, t, t)
    squares = (clean.states * clean.states).sum(-1)
    return InnerProducts(squares, *(squares.new_zeros(shape) for _ in range(4)))


def _prefix(layers: list[DynamicLayer], length: int) -> Cache:
    """The cache of the clean pass, cut to the tokens left of the source."""
    return Cache(layers=[_PrefixLayer(layer, length) for layer in layers])


class _FiniteProbe:
    """Scaling of the source by (1 - epsilon), for several strengths at once."""

    def __init__(self, strengths: Float[Tensor, " epsilon"]) -> None:
        self.strengths = strengths

    def __len__(self) -> int:
        return len(self.strengths)

    def perturb(self, state: Tensor) -> Tensor:
        rows = state.unflatten(0, (len(self), -1))
        factor = torch.ones(rows.shape[:3], dtype=state.dtype, device=state.device)
        factor[:, :, 0] = (1 - self.strengths)[:, None].to(state.dtype)
        return state * factor.flatten(0, 1)[:, :, None]

    def response(self, state: Tensor, clean: Tensor) -> Tensor:
        return _at_least_float32(state).unflatten(0, (len(self), -1)) - clean


class _LinearProbe:
    """The same scaling in the limit epsilon -> 0: d/d epsilon of (1 - epsilon) x is -x."""

    def __len__(self) -> int:
        return 1

    def perturb(self, state: Tensor) -> Tensor:
        tangent = torch.zeros_like(state)
        tangent[:, 0] = -state[:, 0]
        return forward_ad.make_dual(state, tangent)

    def response(self, state: Tensor, clean: Tensor) -> Tensor:
        return _at_least_float32(forward_ad.unpack_dual(state).tangent)[None]


def _perturbed_pass(
    model: TransformerBridge,
    clean: _CleanPass,
    products: InnerProducts,
    source: int,
    chunk: slice,
    probe: _FiniteProbe | _LinearProbe,
) -> None:
    """Run the suffix of one source for some strengths and write their inner products."""
    perturbation: list[Tensor] = []

    def perturb(state: Tensor, hook: object) -> Tensor:
        return probe.perturb(state)

    def reduce(state: Tensor, hook: object, position: int) -> None:
        x = clean.states[position, :, source:]
        response = probe.response(state, x)
        if position == 0:
            perturbation.append(response[:, :, 0])
        at = (position, chunk, slice(None), source, slice(source, None))
        products.response_response[at] = (response * response).sum(-1)
        products.response_state[at] = (response * x).sum(-1)
        both = torch.stack([response[:, :, 0], perturbation[0]], dim=-1)
        against_source, against_perturbation = (response @ both).unbind(-1)
        products.response_source[at] = against_source
        products.response_perturbation[at] = against_perturbation

    found = positions(model)
    hooks: list[tuple[str, Callable]] = [(found[0].hook, perturb)]
    hooks += [(position.hook, partial(reduce, position=position.index)) for position in found]
    suffixes = clean.tokens[:, source:].repeat(len(probe), 1)
    _run(model, suffixes, _prefix(clean.layers, source), hooks)


def _at_least_float32(state: Tensor) -> Tensor:
    """Differences of half-precision vectors are taken in float32, which holds them exactly."""
    return state.float() if state.dtype in (torch.float16, torch.bfloat16) else state
