"""Runs of tiny models on repeated tokens, by the library and by Hugging Face, in float64."""

import functools
from typing import Any

import plain
import raw
import torch
from tiny_models import VOCABULARY, bridged, random_weights, tiny_hf_model
from torch import Tensor
from universal_response import activations, heads

T0 = 5
SEQUENCES = 2


def blocks(seed: int = 0, sequences: int = SEQUENCES) -> Tensor:
    """Blocks of distinct tokens, each followed by its repetition."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(VOCABULARY, generator=generator)[:T0] for _ in range(sequences)]
    return torch.stack(rows).repeat(1, 2)


TOKENS = blocks()


def made(family: str) -> Any:
    """The tiny model; a Granite whose logits are divided, as those that are published."""
    model = tiny_hf_model(family, torch.float64)
    if family == "granite":
        model.config.logits_scaling = 8.0
        return random_weights(model.config, torch.float64)
    return model


@functools.cache
def hf_model(family: str) -> Any:
    return made(family)


@functools.cache
def bridge(family: str) -> Any:
    return bridged(made(family))


@functools.cache
def unembedding(family: str) -> activations.Unembedding:
    return activations.unembedding_of(bridge(family))


def outputs(family: str, tokens: Tensor = TOKENS) -> activations.Outputs:
    model = bridge(family)
    with plain.uncast():
        return activations.outputs(tokens, model)


def hf_run(family: str, tokens: Tensor = TOKENS, **asked: bool) -> Any:
    """Of Hugging Face, with the hooks that are on the model."""
    hf = hf_model(family)
    with plain.uncast(), plain._exact(hf), torch.no_grad():
        return hf(tokens, use_cache=False, **asked)


@functools.cache
def last(family: str) -> tuple[Tensor, Tensor]:
    """Of Hugging Face, states after the final norm, and logits."""
    kept: list[Tensor] = []
    norm = raw.final_norm(hf_model(family))
    with raw.hooks(norm.register_forward_hook(lambda *args: kept.append(args[-1]))):
        logits = hf_run(family).logits
    return kept[0], logits


def difference(logits: Tensor, tokens: Tensor = TOKENS) -> Tensor:
    """By plain loops: right logit minus mean logit of the block's others, (sequence, query)."""
    return torch.stack(
        [
            torch.stack([_difference(row[T0 + k], block[:T0].tolist(), k) for k in range(T0 - 1)])
            for row, block in zip(logits, tokens, strict=True)
        ]
    )


def _difference(logits: Tensor, block: list[int], k: int) -> Tensor:
    right = block[k + 1]
    others = [logits[token] for token in block if token != right]
    return logits[right] - sum(others) / len(others)


def metric_of(family: str, tokens: Tensor = TOKENS) -> activations.Metric:
    """The library's: the mean logit difference of every sequence."""

    def metric(normed: Tensor) -> Tensor:
        return heads.predictions(normed, tokens, unembedding(family)).logit_difference.mean(1)

    return metric


def close(found: Tensor, expected: Tensor, within: float = 1e-11) -> None:
    """Relative to the largest number."""
    assert found.shape == expected.shape
    largest = float(expected.abs().max())
    assert largest > 0
    off = float((found - expected).abs().max())
    assert off <= within * largest
