"""The ways compared: each measures the response functions of all sources at all strengths.

Every contender takes a `Case` and returns response functions (metric, epsilon, position, delta_j),
averaged over sequences.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from universal_response.measurement import (
    SEQUENCES_PER_SHARD,
    bytes_of_strength,
    device_memory,
    strengths_at_a_time,
)
from universal_response.metrics import LINEAR_METRICS, METRICS, InnerProducts
from universal_response.propagation import (
    chunked_inner_products,
    linear_inner_products,
    positions,
    unbridged,
)
from universal_response.response import response_function

# Full sequences that the batched ways pass at once: with all 128 sources of a sequence the logits
# of Gemma's vocabulary alone would take 17 GB.
ROWS = {"cpu": 16, "cuda": 128}


@dataclass(frozen=True)
class Case:
    """What all contenders compute.

    Attributes:
        model: bridged.
        tokens: (sequence, token), on the device of the model.
        epsilons: strengths.
    """

    model: TransformerBridge
    tokens: Tensor
    epsilons: tuple[float, ...]

    @property
    def rows(self) -> int:
        return ROWS.get(self.tokens.device.type, ROWS["cpu"])


@torch.no_grad()
def plain(case: Case) -> Tensor:
    """TransformerLens `run_with_hooks`: one full forward pass per source and strength."""
    names = [position.hook for position in positions(case.model)]

    def run(weights: Tensor | None = None) -> list[Tensor]:
        states: list[Tensor] = []
        hooks: list[tuple[str | Callable, Callable]] = [
            (name, partial(_store, states)) for name in names
        ]
        if weights is not None:
            hooks.insert(0, (names[0], partial(_weaken, weights)))
        case.model.run_with_hooks(case.tokens, fwd_hooks=hooks, return_type=None)
        return states

    table = _Table(case, run())
    t = case.tokens.shape[1]
    for number, epsilon in enumerate(case.epsilons):
        for source in range(t):
            weights = torch.ones(1, t, device=case.tokens.device)
            weights[:, source] -= epsilon
            for sequence, states in enumerate(zip(*run(weights), strict=True)):
                table.fill(number, sequence, source, [state[None] for state in states])
    return table.response_functions()


@torch.no_grad()
def batched(case: Case) -> Tensor:
    """The same with the sources of a sequence as batch rows, as many as fit."""
    names = [position.hook for position in positions(case.model)]

    def run(tokens: Tensor, weights: Tensor | None = None) -> list[Tensor]:
        states: list[Tensor] = []
        hooks: list[tuple[str | Callable, Callable]] = [
            (name, partial(_store, states)) for name in names
        ]
        if weights is not None:
            hooks.insert(0, (names[0], partial(_weaken, weights)))
        case.model.run_with_hooks(tokens, fwd_hooks=hooks, return_type=None)
        return states

    table = _Table(case, run(case.tokens))
    for number, sequence, first, weights in _batches(case):
        tokens = case.tokens[sequence].expand(len(weights), -1)
        table.fill(number, sequence, first, run(tokens, weights))
    return table.response_functions()


@torch.no_grad()
def nnsight(case: Case) -> Tensor:
    """nnsight: one trace per batch of sources, stopped after the last block."""
    from nnsight import NNsight

    model = NNsight(unbridged_copy(case.model))
    blocks = _blocks(model)
    parallel = positions(case.model)[-1].sublayer == "block"
    norms = [None if parallel else _norm_before_mlp(block) for block in blocks]

    def run(tokens: Tensor, weights: Tensor | None = None) -> list[Tensor]:
        # The tracer runs this body in another frame; only what is saved comes back.
        with model.trace() as tracer:
            states: Any = list().save()  # type: ignore[attr-defined]  # noqa: C408
            with tracer.invoke(input_ids=tokens, use_cache=False):
                if weights is not None:
                    blocks[0].input = blocks[0].input * weights[..., None]
                states.append(blocks[0].input)
                for block, norm in zip(blocks, norms, strict=True):
                    if norm is not None:
                        states.append(norm.input)
                    out = block.output
                    states.append(out[0] if isinstance(out, tuple) else out)
                tracer.stop()
        return states

    table = _Table(case, run(case.tokens))
    for number, sequence, first, weights in _batches(case):
        tokens = case.tokens[sequence].expand(len(weights), -1)
        table.fill(number, sequence, first, run(tokens, weights))
    return table.response_functions()


def engine(case: Case) -> Tensor:
    """This library: suffixes against the clean prefix, laid end to end, in shards and chunks.

    As many sequences and strengths at a time as `measure` takes, which bounds the memory.
    """
    found = []
    for tokens in case.tokens.split(SEQUENCES_PER_SHARD):
        n_sequences, t = tokens.shape
        each = bytes_of_strength(
            len(positions(case.model)), n_sequences, t, t, case.model.cfg.dtype
        )
        size = strengths_at_a_time(each, tokens.device.type, device_memory(tokens.device))
        chunks = [case.epsilons[n : n + size] for n in range(0, len(case.epsilons), size)]
        parts = [
            _response_functions(products, METRICS)
            for products in chunked_inner_products(tokens, case.model, chunks)
        ]
        found.append(torch.cat(parts, dim=1))
    return torch.cat(found, dim=3).mean(3)


def linear(case: Case) -> Tensor:
    """This library: the exact limit epsilon -> 0, of all strengths at once."""
    found = [
        _response_functions(linear_inner_products(tokens, case.model), LINEAR_METRICS)
        for tokens in case.tokens.split(SEQUENCES_PER_SHARD)
    ]
    return torch.cat(found, dim=3).mean(3)


CONTENDERS: dict[str, Callable[[Case], Tensor]] = {
    contender.__name__: contender for contender in (plain, batched, nnsight, engine, linear)
}


def unbridged_copy(model: TransformerBridge) -> Any:
    """The Hugging Face model without a bridge, sharing the weights."""
    with unbridged(model):
        weights = model.original_model.state_dict()
    config = model.original_model.config
    # Made on the device: buffers that are no weights, such as rotary frequencies, stay.
    with torch.device(next(iter(weights.values())).device):
        copy = transformers.AutoModelForCausalLM.from_config(config, dtype=model.cfg.dtype)
    # The bridge gives an unembedding a bias of zeros.
    wanted = {name: weights[name] for name in copy.state_dict()}
    copy.load_state_dict(wanted, assign=True)
    return copy.eval().requires_grad_(False)


class _Table:
    """Inner products of whole residual streams, filled source by source."""

    def __init__(self, case: Case, clean: list[Tensor]) -> None:
        n_sequences, t = case.tokens.shape
        shape = (len(clean), len(case.epsilons), n_sequences, t, t)
        self.clean = torch.stack(clean)
        names = (
            "response_response", "response_state", "response_source", "response_perturbation",
            "perpendicular",
        )  # fmt: skip
        self.products = InnerProducts(
            state_state=(self.clean**2).sum(-1),
            sources=torch.arange(t).repeat(n_sequences, 1),
            fallback_modules=(),
            **{name: self.clean.new_zeros(shape) for name in names},
        )

    def fill(self, strength: int, sequence: int, first: int, states: list[Tensor]) -> None:
        """Write the rows of sources first, first + 1, ... of a sequence.

        Args:
            strength: index of the strength.
            sequence: which.
            first: source of the first row.
            states: of every position, (row, token, d_model).
        """
        rows = torch.arange(len(states[0]), device=self.clean.device)
        at = (strength, sequence, slice(first, first + len(rows)))
        perturbation = None
        for position, state in enumerate(states):
            x = self.clean[position, sequence]
            d = state - x
            at_source = d[rows, first + rows][:, None]
            perturbation = at_source if perturbation is None else perturbation
            self.products.response_response[position][at] = (d * d).sum(-1)
            self.products.response_state[position][at] = (d * x).sum(-1)
            self.products.response_source[position][at] = (d * at_source).sum(-1)
            self.products.response_perturbation[position][at] = (d * perturbation).sum(-1)
            squared = (x * x).sum(-1, keepdim=True)
            along = (d * x).sum(-1, keepdim=True) / torch.where(squared > 0, squared, 1)
            self.products.perpendicular[position][at] = ((d - along * x) ** 2).sum(-1)

    def response_functions(self) -> Tensor:
        return _response_functions(self.products, METRICS).mean(3)


def _response_functions(products: InnerProducts, metrics: Mapping[str, Callable]) -> Tensor:
    """(metric, epsilon, position, sequence, delta_j)."""
    found = [response_function(metric(products)) for metric in metrics.values()]
    return torch.stack(found).transpose(1, 2)


def _batches(case: Case) -> Iterator[tuple[int, int, int, Tensor]]:
    """Strength, sequence, first source, and the factors on the input, (row, token)."""
    t = case.tokens.shape[1]
    every = torch.eye(t, device=case.tokens.device)
    for number, epsilon in enumerate(case.epsilons):
        for sequence in range(len(case.tokens)):
            for first in range(0, t, case.rows):
                yield number, sequence, first, 1 - epsilon * every[first : first + case.rows]


def _weaken(weights: Tensor, state: Tensor, hook: object) -> Tensor:
    return state * weights[..., None].to(state.dtype)


def _store(states: list[Tensor], state: Tensor, hook: object) -> None:
    states.append(state)


def _blocks(model: Any) -> Any:
    inner = getattr(model, model._module.base_model_prefix)
    return inner.h if hasattr(inner._module, "h") else inner.layers


def _norm_before_mlp(block: Any) -> Any:
    names = ("ln_2", "pre_feedforward_layernorm", "post_attention_layernorm")
    return getattr(block, next(name for name in names if hasattr(block._module, name)))
