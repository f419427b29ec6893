"""How fast a device multiplies, and what part of that the engine reaches."""

import torch
from torch.utils.benchmark import Timer

from universal_response.number_types import torch_dtype

# Part of the matrix-product rate that the engine reaches. Measured in float32 on two CPU cores
# (`benchmarks/results`): 0.5 of the rate of a model's own products where that is 500 GFLOP/s, and
# 0.75 where it is 200: what is no product takes its time. For a GPU and other dtypes it was not
# measured; these bounds are assumed.
MEASURED_FRACTION = (0.5, 0.75)

ASSUMED_FRACTION = (0.2, 0.73)


def fraction_of_rate(device: str, dtype: str) -> tuple[tuple[float, float], str]:
    """Part of the matrix-product rate that the engine reaches, and how that is known."""
    if device == "cpu" and dtype == "float32":
        return MEASURED_FRACTION, "measured: two models, 2 CPU cores"
    return ASSUMED_FRACTION, f"assumed: {dtype} not measured there"


def seconds_for(operations: int, rate: float, fraction: tuple[float, float]) -> tuple[float, float]:
    """Shortest and longest time at these parts of a rate."""
    low, high = fraction
    return operations / (rate * high), operations / (rate * low)


def matrix_product_rate(device: torch.device, dtype: str) -> float:
    """Speed of large matrix products on a device, FLOP/s.

    The median over about a second of products of 2048 x 2048 matrices; of 256 x 256 where the large
    ones would take many seconds, as in float16 on many CPUs.

    Args:
        device: where.
        dtype: `float32`, `float64`, `bfloat16` or `float16`.
    """

    def timer(edge: int) -> Timer:
        # Random numbers: a GPU multiplies constants faster. A Timer uses one thread unless told.
        factors = torch.randn(2, edge, edge, generator=torch.Generator().manual_seed(0))
        a, b = factors.to(device, torch_dtype(dtype))
        return Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())

    small, large = 256, 2048
    expected = timer(small).timeit(2).median * (large / small) ** 3
    edge = small if expected > 8 else large
    return 2 * edge**3 / timer(edge).blocked_autorange(min_run_time=1).median
