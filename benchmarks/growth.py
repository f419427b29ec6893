"""How the time of the engine grows with T0, sequences, strengths and layers."""

import copy
from typing import Any

import torch
import transformers

from benchmarks.contenders import Case, engine
from benchmarks.models import random_tokens, with_random_weights
from benchmarks.timing import interleaved

# Around this point one size is varied at a time.
BASE = {"t0": 16, "sequences": 2, "epsilons": 2, "layers": 8}
VARIED = {
    "t0": (4, 8, 16, 32, 64),
    "sequences": (1, 2, 4, 8),
    "epsilons": (1, 2, 4, 8),
    "layers": (2, 4, 8, 16),
}


def growth(
    config: transformers.PretrainedConfig, device: torch.device, dtype: str, repetitions: int
) -> dict[str, list[dict[str, Any]]]:
    """Times of the engine, one size varied at a time.

    Args:
        config: architecture; its number of layers is replaced.
        device: where.
        dtype: of the model.
        repetitions: how often every size is run, all sizes in turn.

    Returns:
        By the name of the size: all sizes, token-passes, seconds and peak memory of every point.
    """
    points = [(name, BASE | {name: value}) for name in VARIED for value in VARIED[name]]
    models = {
        layers: with_random_weights(_truncated(config, layers), device, dtype)
        for layers in {size["layers"] for _, size in points}
    }
    contenders = {}
    for name, size in points:
        model = models[size["layers"]]
        tokens = random_tokens(model, size["t0"], size["sequences"])
        epsilons = tuple(0.01 * (n + 1) for n in range(size["epsilons"]))
        case = Case(model, tokens, epsilons)
        contenders[f"{name}={size[name]}"] = lambda case=case: engine(case)
    # The first run in a process waits for memory; no size is to pay for that.
    next(iter(contenders.values()))()
    timings, _ = interleaved(contenders, repetitions, device)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIED}
    for name, size in points:
        timing = timings[f"{name}={size[name]}"]
        found[name].append(
            size
            | {
                "token_passes": _token_passes(size),
                "seconds": [round(seconds, 4) for seconds in timing.seconds],
                "median_s": round(timing.median, 4),
                "peak_bytes": timing.peak_bytes,
            }
        )
    return found


def _token_passes(size: dict[str, int]) -> int:
    t = 2 * size["t0"]
    return size["sequences"] * size["epsilons"] * t * (t + 1) // 2


def _truncated(config: transformers.PretrainedConfig, layers: int) -> transformers.PretrainedConfig:
    shorter = copy.deepcopy(config)
    kinds = getattr(config, "layer_types", None)
    shorter.num_hidden_layers = layers
    if kinds:
        shorter.layer_types = (kinds * layers)[:layers]
    return shorter
