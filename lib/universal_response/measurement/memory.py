"""How many strengths are measured together: as many as the device's memory has room for."""

import torch

# Inner products of some strengths, and the metrics made of them, stay below this and below an
# eighth of the device's memory. A processor is as fast with one strength as with several, as soon
# as its suffixes fill a few passes; a GPU wants many.
CHUNK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 33}
# Inner products of a strength, and as many intermediates of a metric.
ARRAYS = 10


def strengths_at_a_time(each: int, device: str, memory: int | None = None) -> int:
    """How many strengths fit into memory together; at least one.

    Depends on the size of the device's memory but not on what is free: another number lays the
    suffixes out otherwise and changes the last bits.

    Args:
        each: `bytes_of_strength`.
        device: type of the device.
        memory: of the device, bytes; plenty if None.
    """
    limit = CHUNK_BYTES.get(device, CHUNK_BYTES["cpu"])
    return max(1, (limit if memory is None else min(limit, memory // 8)) // each)


def bytes_of_strength(
    n_positions: int, n_sequences: int, n_sources: int, t: int, dtype: torch.dtype
) -> int:
    """Bytes of the inner products of one strength and of the intermediates of a metric."""
    # Half precision is raised to float32.
    return ARRAYS * max(dtype.itemsize, 4) * n_positions * n_sequences * n_sources * t
