"""The shortest possible time: floating-point operations over the measured matrix-product rate."""

from dataclasses import dataclass

import torch
import transformers
from torch.utils.benchmark import Timer
from transformer_lens.model_bridge import TransformerBridge
from universal_response.measurement.plan import flops_per_token
from universal_response.propagation import TOKENS_PER_PASS, products_of, unbridged


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
    """Count the operations of a model and measure its matrix products and nothing else.

    Args:
        model: on the device to be measured.
        t: tokens T of a sequence.
        min_run_time: seconds spent on every size.
    """
    with unbridged(model) as blocks:
        layers: dict[tuple[int, int], list[torch.nn.Module]] = {}
        for module in blocks.base.modules():
            if isinstance(module, torch.nn.Linear | transformers.pytorch_utils.Conv1D):
                transposed = isinstance(module, transformers.pytorch_utils.Conv1D)
                inputs, outputs = module.weight.shape if transposed else module.weight.shape[::-1]
                layers.setdefault((inputs, outputs), []).append(module)
        products = tuple(
            Product(*size, len(layers[size]), _rate(size, layers[size], min_run_time))
            for size in sorted(layers)
        )
    weights = sum(product.flops_per_token for product in products) // 2
    cfg = model.cfg
    return Roofline(products, flops_per_token(weights, cfg.n_layers, cfg.n_heads * cfg.d_head, t))


def faster(one: Roofline, other: Roofline) -> Roofline:
    """Of two measurements of one model, the higher rate of every product."""
    products = tuple(
        max(pair, key=lambda product: product.rate)
        for pair in zip(one.products, other.products, strict=True)
    )
    return Roofline(products, one.flops_per_token)


def _rate(size: tuple[int, int], layers: list[torch.nn.Module], min_run_time: float) -> float:
    """FLOP/s of all layers of one size in turn, by the engine's kernel or PyTorch's.

    In turn, because weights that were used a moment ago would come from the processor's cache.
    """
    inputs, outputs = size
    like = next(layers[0].parameters())
    rows = TOKENS_PER_PASS.get(like.device.type, TOKENS_PER_PASS["cpu"])
    x = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(0)).to(like)
    ours = products_of(layers, "float32")
    seconds = []
    for product in ("ours[layer].change(x)", "layer.__class__.forward(layer, x)"):
        timer = Timer(
            f"for layer in layers: {product}",
            globals={"layers": layers, "ours": ours, "x": x},
            num_threads=torch.get_num_threads(),
        )
        with torch.no_grad():
            seconds.append(timer.blocked_autorange(min_run_time=min_run_time).median)
    return 2 * rows * inputs * outputs * len(layers) / min(seconds)
