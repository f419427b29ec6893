"""What each choice inside the engine is worth: the same measurement with one made otherwise."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from universal_response import linear_layers, propagation, suffixes
from universal_response.metrics import delta
from universal_response.propagation import TOKENS_PER_PASS, InnerProducts, inner_products

from benchmarks.compare import Disagreement
from benchmarks.contenders import Case
from benchmarks.timing import interleaved


def choices(case: Case, repetitions: int) -> dict[str, dict[str, Any]]:
    """Time the engine as it is and with one choice at a time made otherwise.

    Args:
        case: what is computed.
        repetitions: how often each variant is run, all in turn, after a small run to warm up.

    Returns:
        By variant: seconds of every repetition, and medians as multiples of that of the engine.

    Raises:
        Disagreement: mean lengths of the response differ by more than a thousandth.
    """
    variants = {"engine": partial(_run, case)}
    for name, changed in _changes(case).items():
        variants[name] = partial(_run, case, changed)
    for size in (512, 1024, 2048, 4096):
        if case.tokens.device.type == "cpu" and size != TOKENS_PER_PASS["cpu"]:
            variants[f"{size} tokens a pass"] = partial(_run, case, tokens_per_pass=size)
    small = Case(case.model, case.tokens[:, :8], case.epsilons)
    for variant in variants.values():
        _run(small, *variant.args[1:], **variant.keywords)
    timings, found = interleaved(variants, repetitions, case.tokens.device)
    lengths = {name: delta(products).mean((2, 3, 4)) for name, products in found.items()}
    for name, length in lengths.items():
        if not torch.allclose(length, lengths["engine"], 1e-3):
            raise Disagreement(f"{name}: differs from the engine; its time means nothing")
    return {
        name: {
            "seconds": [round(seconds, 3) for seconds in timing.seconds],
            "times_engine": round(timing.median / timings["engine"].median, 3),
        }
        for name, timing in timings.items()
    }


def _run(
    case: Case,
    changed: Callable[[], Any] = nullcontext,
    tokens_per_pass: int | None = None,
) -> InnerProducts:
    with changed():
        return inner_products(
            case.tokens, case.model, case.epsilons, tokens_per_pass=tokens_per_pass
        )


def _changes(case: Case) -> dict[str, Callable[[], Any]]:
    changes: dict[str, Callable[[], Any]] = {
        "one source a pass": partial(patch.object, propagation, "packings", _unmixed),
        "attention in steps": partial(
            patch.object, suffixes, "fused_kernel_suffices", lambda query, softcap: False
        ),
        "inner products as one batched product": partial(
            patch.object, propagation, "row_products", _batched
        ),
    }
    if case.tokens.device.type == "cpu":
        changes["weights not laid out beforehand"] = partial(
            patch.object, linear_layers, "PREPACKED_BYTES", 0
        )
    modules = list(case.model.original_model.modules())
    gated = [m for m in modules if type(m).__name__.endswith("MLP") and hasattr(m, "gate_proj")]
    norms = [m for m in modules if type(m).__name__.endswith("RMSNorm")]
    if shutil.which(os.environ.get("CXX", "g++")) and gated and norms:
        changes["norms and activations compiled"] = partial(_compiled, gated, norms)
    return changes


def _unmixed(
    n_sequences: int, t: int, n_strengths: int, budget: int, mixed: bool
) -> Iterator[suffixes.Packing]:
    return suffixes.packings(n_sequences, t, n_strengths, budget, mixed=False)


def _batched(one: Tensor, others: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (torch.stack(others, dim=1) @ one[:, :, None])[..., 0].unbind(1)


@contextmanager
def _compiled(gated: list[Any], norms: list[Any]) -> Iterator[None]:
    """The parts of a block that are no matrix products, through `torch.compile`."""

    activation = gated[0].act_fn

    @torch.compile(dynamic=True)
    def activated(gate: Tensor, up: Tensor) -> Tensor:
        return activation(gate) * up

    def run(block: Any, x: Tensor) -> Tensor:
        return block.down_proj(activated(block.gate_proj(x), block.up_proj(x)))

    with ExitStack() as stack:
        for block in gated:
            stack.enter_context(patch.object(block, "forward", partial(run, block)))
        for norm in norms:
            compiled = torch.compile(norm.forward, dynamic=True)
            stack.enter_context(patch.object(norm, "forward", compiled))
        yield
