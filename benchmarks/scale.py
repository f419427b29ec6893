"""Full-size models at the scale of the paper: time, part of the matrix-product rate, memory."""

import dataclasses
import time
from typing import Any

import numpy as np
import torch
from transformer_lens.model_bridge import TransformerBridge
from universal_response.measurement import Settings, measure, plan

from benchmarks.compare import disagreement
from benchmarks.contenders import Case, batched, engine
from benchmarks.models import random_tokens
from benchmarks.roofline import roofline
from benchmarks.timing import PeakMemory


def scale(model: TransformerBridge, settings: Settings) -> dict[str, Any]:
    """Measure a model with these settings, linear limit included.

    The batched plain way is timed on one sequence and one strength and multiplied up: at this scale
    it would take hours. The first pass of everything is a warm-up, on few tokens.

    Args:
        model: on the device to be measured.
        settings: what to measure.
    """
    device = next(model.original_model.parameters()).device
    t = 2 * settings.t0
    limit = roofline(model, t)
    warm_up = dataclasses.replace(settings, t0=2, batch=1)
    measure(model, warm_up)
    batched(Case(model, random_tokens(model, 2, 1), settings.epsilons[:1]))
    with PeakMemory(device) as peak:
        dataset = measure(model, settings, progress=True)
    seconds = float(dataset.attrs["wall_time_s"])
    one = Case(model, random_tokens(model, settings.t0, 1), settings.epsilons[:1])
    start = time.perf_counter()
    batched(one)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    one_batched = time.perf_counter() - start
    finite = len(settings.epsilons)
    strengths = finite + settings.linear
    shortest = limit.seconds(settings.batch, t, strengths)
    return {
        "seconds": seconds,
        "token_passes": plan.token_passes(settings),
        "gflop_per_s": round(limit.rate / 1e9, 1),
        "shortest_s": round(shortest, 2),
        "reached": round(shortest / seconds, 3),
        "peak_bytes": peak.bytes,
        "batched_one_sequence_one_strength_s": round(one_batched, 3),
        # Without the linear limit, which the plain way does not have.
        "batched_over_engine": round(
            one_batched * settings.batch * finite / (seconds * finite / strengths), 2
        ),
        "parameters": sum(weight.numel() for weight in model.original_model.parameters()),
    }


def agreement(model: TransformerBridge, t0: int = 8, epsilon: float = 0.05) -> float:
    """Largest difference between CPU and device, in units of what is allowed (`compare`).

    The model is moved to the CPU and stays there.
    """
    tokens = random_tokens(model, t0, 1)
    on_device = engine(Case(model, tokens, (epsilon,))).cpu()
    model.original_model.to("cpu")
    case = Case(model, tokens.cpu(), (epsilon,))
    found = {"engine": engine(case), "device": on_device}
    worst = disagreement(case, found)["device"]
    assert np.isfinite(worst)
    return worst
