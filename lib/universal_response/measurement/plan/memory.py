"""Memory and download of a measurement."""

import math
from pathlib import Path
from typing import Any

import psutil
import torch

from universal_response.measurement.job import SEQUENCES_PER_SHARD
from universal_response.measurement.memory import ARRAYS, bytes_of_strength, strengths_at_a_time
from universal_response.measurement.plan.size import Size
from universal_response.measurement.settings import Settings
from universal_response.models import REGISTRY
from universal_response.number_types import torch_dtype
from universal_response.propagation import NUMBERS_AT_A_TIME, TOKENS_PER_PASS

# Interpreter and libraries after import; measured on Linux. A GPU context takes about as much.
BASE_BYTES = 1 << 29


def weights_bytes(size: Size, settings: Settings) -> int:
    """Memory of the weights in the number type asked for."""
    return size.parameters * torch_dtype(settings.dtype).itemsize


def working_bytes(size: Size, settings: Settings, device: str) -> int:
    """Upper estimate of the memory of a measurement beside the weights.

    Sequences are measured a shard at a time, as many finite strengths together as memory allows,
    and then the linear limit. The larger of two moments counts. While the model runs: the five
    inner products of the shard, its clean residual vectors with what linear layers and activations
    gave, and the activations of one pass. After that, of the same shape as an inner product: the
    five of them, and as many for a metric, its intermediates and its rows.

    Positions are counted as 2L + 1, though parallel blocks have only half of them, and activations
    with factors that hold for every supported architecture: four residual vectors, and six hidden
    layers of an MLP or six times the attention scores with queries, keys and values, whichever
    is more.

    Args:
        size: of the model.
        settings: what is measured.
        device: type of the device, `cpu`, `cuda` or `mps`.
    """
    counts = [len(settings.epsilons)] * bool(settings.epsilons) + [1] * settings.linear
    return max(_shard_bytes(size, settings, device, count) for count in counts)


def _shard_bytes(size: Size, settings: Settings, device: str, strengths: int) -> int:
    t = settings.t
    positions = 2 * size.layers + 1
    # Half precision is raised to float32 in norms, scores and inner products.
    each = max(torch_dtype(settings.dtype).itemsize, 4)
    shard = settings.sequences_per_chunk or SEQUENCES_PER_SHARD
    sequences = math.ceil(settings.batch / math.ceil(settings.batch / shard))
    sources = settings.sources or t
    layout = (positions, sequences, sources, t, torch_dtype(settings.dtype))
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


def download(model: str, config: Any, parameters: int) -> tuple[int, str]:
    """Size of the download in bytes, and how it is known."""
    if model in REGISTRY and REGISTRY[model].shipped:
        return 0, "shipped with the library"
    if model in REGISTRY:
        return REGISTRY[model].download_mb * 10**6, "published; 0 if it is here already"
    if Path(model).is_dir():
        return 0, "a folder on this machine"
    stored = getattr(config, "dtype", None) or torch.float32
    return parameters * stored.itemsize, f"counted, if stored in {str(stored)[6:]}"


def free_bytes(device: torch.device) -> int:
    """Memory that a device has free now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
