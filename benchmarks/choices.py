"""What each choice inside the engine is worth: the same measurement with one made otherwise."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from universal_response.metrics import InnerProducts, delta
from universal_response.propagation import (
    TOKENS_PER_PASS,
    choose_products,
    clean_pass,
    inner_products,
    passes,
    products,
    rows,
    suffixes,
)
from universal_response.propagation.choice import LARGEST_EFFECT

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
        Disagreement: mean lengths of the response differ by more than a thousandth; with products
            in fewer digits, by more than those may change.
    """
    variants = {"engine": partial(_run, case)}
    for name, changed in _changes(case).items():
        variants[name] = partial(_run, case, changed)
    for size in (512, 1024, 2048, 4096):
        if case.tokens.device.type == "cpu" and size != TOKENS_PER_PASS["cpu"]:
            variants[f"{size} tokens a pass"] = partial(_run, case, tokens_per_pass=size)
    # Nothing where the processor is not faster with fewer digits.
    fast = choose_products(case.model, case.tokens).products
    allowed = dict.fromkeys(variants, 1e-3)
    if fast != "float32":
        variants[f"products in {fast}"] = partial(_run, case, products=fast)
        allowed[f"products in {fast}"] = LARGEST_EFFECT
    small = Case(case.model, case.tokens[:, :8], case.epsilons)
    for variant in variants.values():
        _run(small, *variant.args[1:], **variant.keywords)
    timings, found = interleaved(variants, repetitions, case.tokens.device)
    lengths = {name: delta(products).mean((2, 3, 4)) for name, products in found.items()}
    for name, length in lengths.items():
        if not torch.allclose(length, lengths["engine"], allowed[name]):
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
    **others: Any,
) -> InnerProducts:
    with changed():
        return inner_products(case.tokens, case.model, case.epsilons, **others)


def _changes(case: Case) -> dict[str, Callable[[], Any]]:
    changes: dict[str, Callable[[], Any]] = {
        "one source a pass": partial(patch.object, passes, "packings", _unmixed),
    }
    if case.tokens.device.type == "cpu":
        changes["products by PyTorch's choice"] = partial(
            patch.object, products, "_available", lambda: False
        )
        if products._available():
            changes["weights laid out beforehand"] = _weights_laid_out
        changes["all rows of a rule at once"] = partial(
            patch.object, rows, "NUMBERS_AT_A_TIME", 1 << 40
        )
        if rows.can_compile():
            # The engine itself compiles only what runs for long.
            changes["rules compiled"] = partial(patch.object, clean_pass, "WORTH_COMPILING", 0)
    return changes


def _weights_laid_out() -> AbstractContextManager[object]:
    """A second copy of every weight, as oneDNN arranges it for a product, once a measurement."""
    copies: dict[int, Tensor] = {}
    product, kernels = products._product, torch.ops.mkldnn

    def laid_out(weight: Tensor, one_dnn: bool, x: Tensor, bias: Tensor | None = None) -> Tensor:
        if x.dtype != torch.float32 or weight.dtype != torch.float32:
            return product(weight, one_dnn, x, bias)
        at = weight.data_ptr()
        if at not in copies:
            rows = TOKENS_PER_PASS["cpu"]
            copies[at] = kernels._reorder_linear_weight(weight.contiguous(), rows)
        return kernels._linear_pointwise(x, copies[at], bias, "none", [], "")

    return patch.object(products, "_product", laid_out)


def _unmixed(
    sources: Tensor, t: int, n_strengths: int, budget: int, mixed: bool
) -> Iterator[suffixes.Packing]:
    return suffixes.packings(sources, t, n_strengths, budget, mixed=False)
