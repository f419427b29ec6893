"""Where the time of the engine goes: operators of some passes, gathered in named parts."""

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import Case, engine

# The first that holds an operator's name; what matches none is called other.
PARTS = {
    "products with weights": (
        "aten::mm",
        "aten::addmm",
        "aten::linear",
        "mkldnn::_linear_pointwise",
    ),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_efficient_attention_forward",
        "aten::_flash_attention_forward",
        "aten::bmm",
        "aten::baddbmm",
        "aten::_softmax",
        "aten::masked_fill",
        "aten::masked_fill_",
    ),
    "products of numbers, sums": (
        *("aten::mul", "aten::mul_", "aten::add", "aten::add_", "aten::sum", "aten::sub"),
        *("aten::sub_", "aten::pow", "aten::addcmul_"),
    ),
    "rules of functions": (
        "aten::expm1",
        "aten::expm1_",
        "aten::addcmul",
        "aten::div_",
        "aten::exp",
    ),
    "copies": ("aten::copy_", "aten::cat", "aten::index_select", "aten::index_copy_"),
}


def shares(case: Case) -> dict[str, float]:
    """Part of the time of the engine that each kind of operator takes itself; together 1.

    On a CPU the time of the processor, on a GPU that of its kernels. The first run is a warm-up.
    """
    engine(case)
    cuda = case.tokens.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as found:
        engine(case)
    if cuda:
        torch.cuda.synchronize()
    taken = dict.fromkeys([*PARTS, "other"], 0.0)
    for event in found.key_averages():
        seconds = event.self_device_time_total if cuda else event.self_cpu_time_total
        part = next((part for part, names in PARTS.items() if event.key in names), "other")
        taken[part] += seconds
    return {part: seconds / sum(taken.values()) for part, seconds in taken.items()}
