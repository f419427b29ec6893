"""A tiny adder with random weights, and its passes through Hugging Face with hooks of its own.

The library gets the same weights as a bridge. Nothing of what it computes is used here.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import plain
import raw
import torch
from torch import Tensor
from universal_response import models
from universal_response.activations import Outputs, Unembedding, outputs, unembedding_of
from universal_response.arithmetic import AdderSettings, Problems
from universal_response.arithmetic.network import initial

SETTINGS = AdderSettings(digits=2, width=16, heads=2, inner=24, seed=5)
LAYERS, HEADS, D_HEAD, NEURONS = 2, 2, 8, 24
# 4 7 + 3 8 = 5 8 0: what predicts the digits of the result, and how many places there are.
ANSWERING, PLACES = (5, 6, 7), 9
# Of the largest number compared.
EXACT = 1e-11

Changes = dict[tuple[str, int], Callable[[Tensor], Tensor]]


def network() -> Any:
    """In float64, with weights and gains large enough that every part matters."""
    model: Any = initial(SETTINGS).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 15
            else:
                parameter += 0.3 * torch.randn(
                    parameter.shape, generator=generator, dtype=torch.float64
                )
    return model.eval().requires_grad_(False)


hf = functools.cache(network)


@functools.cache
def bridge() -> Any:
    return models.bridged(network())


@functools.cache
def unembedding() -> Unembedding:
    return unembedding_of(bridge())


def problems(n: int = 6, seed: int = 0) -> Problems:
    """As many, differences among them."""
    generator = np.random.default_rng(seed)
    pairs = generator.integers(100, size=(n, 2))
    minus = np.arange(n) % 2 == 1
    pairs[minus] = np.sort(pairs[minus], 1)[:, ::-1]
    return Problems(pairs[:, 0].copy(), pairs[:, 1].copy(), minus)


def of(some: Problems) -> Outputs:
    """A run of the library's."""
    return outputs(torch.from_numpy(some.tokens()), bridge())


@dataclass
class Pass:
    """What a pass through Hugging Face showed.

    Attributes:
        logits: (problem, place, token).
        states: of every position l, (problem, place, d_model).
        z: of every layer what heads mix, side by side, (problem, place, heads * d_head).
        neurons: of every layer, (problem, place, neuron).
        mlps: of every layer what its MLP gives, (problem, place, d_model).
    """

    logits: Tensor
    states: list[Tensor]
    z: list[Tensor]
    neurons: list[Tensor]
    mlps: list[Tensor]


def passed(tokens: Tensor, changes: Changes | None = None) -> Pass:
    """A whole pass, with changes of what is at `embedding`, `z`, `neurons` or `mlp` of a layer."""
    model, kept = hf(), defaultdict(list)
    changes = changes or {}

    def seen(kind: str, layer: int, value: Tensor) -> Tensor:
        value = changes.get((kind, layer), lambda same: same)(value)
        kept[kind].append(value)
        return value

    def before(kind: str, layer: int) -> Callable:
        return lambda _, args: (seen(kind, layer, args[0]), *args[1:])

    def after(kind: str, layer: int) -> Callable:
        return lambda _, args, output: seen(kind, layer, output)

    handles = [model.model.embed_tokens.register_forward_hook(after("embedding", 0))]
    handles.append(model.model.layers[0].register_forward_pre_hook(before("state", 0)))
    for k, layer in enumerate(model.model.layers):
        handles += [
            layer.self_attn.o_proj.register_forward_pre_hook(before("z", k)),
            layer.post_attention_layernorm.register_forward_pre_hook(before("state", k)),
            layer.mlp.down_proj.register_forward_pre_hook(before("neurons", k)),
            layer.mlp.register_forward_hook(after("mlp", k)),
            layer.register_forward_hook(after("state", k)),
        ]
    with raw.hooks(*handles), plain.uncast(), plain._exact(model), torch.no_grad():
        logits = model(tokens, use_cache=False).logits
    return Pass(logits, *(kept[kind] for kind in ("state", "z", "neurons", "mlp")))


def putting(nodes: Iterable[Any], by: Pass) -> Changes:
    """Changes by which each node gives what it gives in another pass, of as many or of one."""
    found: Changes = {}
    for node in nodes:
        kind, there = ("mlp", by.mlps) if node.head is None else ("z", by.z)
        own = slice(None)
        if node.head is not None:
            own = slice(node.head * D_HEAD, (node.head + 1) * D_HEAD)
        key = (kind, node.layer)
        found[key] = _one_more(found.get(key), there[node.layer], node.place, own)
    return found


def _one_more(before: Callable | None, by: Tensor, place: int, own: slice) -> Callable:
    def change(value: Tensor) -> Tensor:
        value = value.clone() if before is None else before(value)
        value[:, place, own] = by[:, place, own]
        return value

    return change


def mean_of(found: Pass) -> Pass:
    """Everything the mean over problems."""
    return Pass(
        found.logits.mean(0, keepdim=True),
        *(
            [sum(each[k] for k in range(len(each))).unsqueeze(0) / len(each) for each in part]
            for part in (found.states, found.z, found.neurons, found.mlps)
        ),
    )


def digit_logits(found: Pass) -> Tensor:
    """(problem, answer, digit)."""
    return torch.stack([found.logits[:, place, :10] for place in ANSWERING], 1)


def results(some: Problems) -> list[list[int]]:
    """Digits of the results, the units first, by Python's own arithmetic."""
    found = []
    for first, second, minus in zip(some.first, some.second, some.minus, strict=True):
        result = int(first) - int(second) if minus else int(first) + int(second)
        found.append([int(digit) for digit in f"{result:03d}"[::-1]])
    return found


def assert_close(found: Tensor, expected: Tensor, within: float = EXACT) -> None:
    """To a part of the largest number, and nan in the same places."""
    assert found.shape == expected.shape
    assert torch.equal(found.isnan(), expected.isnan())
    found, expected = found.nan_to_num(), expected.nan_to_num()
    largest = float(expected.abs().max())
    assert largest > 0
    assert float((found - expected).abs().max()) <= within * largest
