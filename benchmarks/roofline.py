"""The shortest possible time: floating-point operations over the measured matrix-product rate."""

from collections import Counter
from dataclasses import dataclass

import torch
import transformers
from torch.utils.benchmark import Timer
from transformer_lens.model_bridge import TransformerBridge
from universal_response.plan import flops_per_token
from universal_response.propagation import TOKENS_PER_PASS, unbridged


@dataclass(frozen=True)
class Product:
    """One size of matrix product in the blocks: tokens x inputs times inputs x outputs.

    Attributes:
        inputs, outputs: of the weight.
        count: how many weights have this size.
        rate: measured, FLOP/s.
    """

    inputs: int
    outputs: int
    count: int
    rate: float

    @property
    def flops_per_token(self) -> int:
        return 2 * self.inputs * self.outputs * self.count


@dataclass(frozen=True)
class Roofline:
    """Counted operations and measured rates of one model on one device.

    Attributes:
        products: of every size that occurs.
        flops_per_token: of all blocks, with attention over T keys (`plan.flops_per_token`).
    """

    products: tuple[Product, ...]
    flops_per_token: int

    @property
    def rate(self) -> float:
        """FLOP/s of the products together: operations over the sum of the times."""
        counted = sum(product.flops_per_token for product in self.products)
        return counted / sum(product.flops_per_token / product.rate for product in self.products)

    def seconds(self, n_sequences: int, t: int, n_strengths: int) -> float:
        """Time of T (T + 1) / 2 tokens per sequence and strength at that rate."""
        tokens = n_sequences * n_strengths * t * (t + 1) // 2
        return tokens * self.flops_per_token / self.rate


def roofline(model: TransformerBridge, t: int, min_run_time: float = 0.5) -> Roofline:
    """Count the operations of a model and measure matrix products of its sizes.

    Args:
        model: on the device to be measured.
        t: tokens T of a sequence.
        min_run_time: seconds spent on every size.
    """
    with unbridged(model) as blocks:
        linear = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
        sizes: Counter[tuple[int, int]] = Counter()
        for module in blocks.base.modules():
            if isinstance(module, linear):
                outputs, inputs = module.weight.shape
                transposed = isinstance(module, transformers.pytorch_utils.Conv1D)
                sizes[(outputs, inputs) if transposed else (inputs, outputs)] += 1
        weight = next(blocks.base.parameters())
    rows = TOKENS_PER_PASS.get(weight.device.type, TOKENS_PER_PASS["cpu"])
    products = tuple(
        Product(inputs, outputs, count, _rate(rows, inputs, outputs, weight, min_run_time))
        for (inputs, outputs), count in sorted(sizes.items())
    )
    weights = sum(inputs * outputs * count for (inputs, outputs), count in sizes.items())
    cfg = model.cfg
    return Roofline(products, flops_per_token(weights, cfg.n_layers, cfg.n_heads * cfg.d_head, t))


def faster(one: Roofline, other: Roofline) -> Roofline:
    """Of two measurements of one model, the higher rate of every product."""
    products = tuple(
        max(pair, key=lambda product: product.rate)
        for pair in zip(one.products, other.products, strict=True)
    )
    return Roofline(products, one.flops_per_token)


def _rate(rows: int, inputs: int, outputs: int, like: torch.Tensor, min_run_time: float) -> float:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(rows, inputs, generator=generator).to(like)
    b = torch.randn(outputs, inputs, generator=generator).to(like)
    timer = Timer(
        "linear(a, b)",
        globals={"linear": torch.nn.functional.linear, "a": a, "b": b},
        num_threads=torch.get_num_threads(),
    )
    return 2 * rows * inputs * outputs / timer.blocked_autorange(min_run_time=min_run_time).median
