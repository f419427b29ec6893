"""Repeated random token sequences, the benchmark input of the method (caption of Fig. 1)."""

import numpy as np
from jaxtyping import Int


def repeated_random_tokens(
    t0: int, batch: int, vocabulary_size: int, generator: np.random.Generator
) -> Int[np.ndarray, "batch {2*t0}"]:
    """Draw `batch` blocks of `t0` uniform random tokens and repeat each block once.

    Tokens are drawn sequence by sequence, so the first sequences of a large batch are those of a
    smaller batch with the same seed.

    Args:
        t0: length T0 of the block, at least 2; the sequence has T = 2 T0 tokens, with no BOS token.
        batch: number of sequences, at least 1.
        vocabulary_size: tokens are uniform on 0 .. vocabulary_size - 1.
        generator: source of randomness, for example `numpy.random.default_rng(seed)`.

    Returns:
        int64 array (batch, 2 * t0).

    Raises:
        ValueError: t0, batch or vocabulary_size too small.
    """
    if t0 < 2:
        raise ValueError(f"t0={t0}: the repeated block needs at least 2 tokens; use t0 >= 2")
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one sequence is needed; use batch >= 1")
    if vocabulary_size < 2:
        raise ValueError(f"vocabulary_size={vocabulary_size}: at least 2 tokens are needed")
    block = generator.integers(vocabulary_size, size=(batch, t0), dtype=np.int64)
    return np.concatenate([block, block], axis=1)
