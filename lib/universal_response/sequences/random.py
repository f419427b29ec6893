"""Random tokens: repeated blocks (caption of Fig. 1), and which tokens are perturbed."""

import numpy as np
from jaxtyping import Int


def repeated_random_tokens(
    t0: int,
    batch: int,
    vocabulary_size: int,
    generator: np.random.Generator,
    distinct: bool = False,
) -> Int[np.ndarray, "batch {2*t0}"]:
    """Draw `batch` blocks of `t0` uniform random tokens and repeat each block once.

    Tokens are drawn sequence by sequence, so the first sequences of a large batch are those of a
    smaller batch with the same seed.

    Args:
        t0: length T0 of the block, at least 2; the sequence has T = 2 T0 tokens, with no BOS token.
        batch: number of sequences, at least 1.
        vocabulary_size: tokens are uniform on 0 .. vocabulary_size - 1.
        generator: source of randomness, for example `numpy.random.default_rng(seed)`.
        distinct: draw every block without replacement, so that no token meets itself by chance.

    Returns:
        int64 array (batch, 2 * t0).

    Raises:
        ValueError: t0, batch or vocabulary_size too small.
    """
    check_block(t0)
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one sequence is needed; use batch >= 1")
    if vocabulary_size < 2:
        raise ValueError(f"vocabulary_size={vocabulary_size}: at least 2 tokens are needed")
    if distinct and vocabulary_size < t0:
        raise ValueError(
            f"distinct: {vocabulary_size} tokens do not make a block of {t0} distinct ones; use "
            f"t0 <= {vocabulary_size}"
        )
    if distinct:
        rows = [generator.choice(vocabulary_size, t0, replace=False) for _ in range(batch)]
        block = np.stack(rows).astype(np.int64)
    else:
        block = generator.integers(vocabulary_size, size=(batch, t0), dtype=np.int64)
    return np.concatenate([block, block], axis=1)


def separated_random_tokens(
    t0: int, gap: int, batch: int, vocabulary_size: int, generator: np.random.Generator
) -> Int[np.ndarray, "batch {2*t0+gap}"]:
    """Draw blocks of `t0` random tokens that come again behind a gap; no token in both, or twice.

    A model that knows a block again by its tokens is not disturbed by the gap; one that has learned
    a distance is.

    Args:
        t0: length T0 of the block, at least 2.
        gap: tokens between the blocks.
        batch: number of sequences, at least 1.
        vocabulary_size: tokens are of 0 .. vocabulary_size - 1.
        generator: source of randomness.

    Returns:
        int64 array (batch, 2 * t0 + gap). A peak is expected at dj = t0 + gap - 1.

    Raises:
        ValueError: t0, gap, batch or vocabulary_size too small.
    """
    check_block(t0)
    if gap < 0:
        raise ValueError(f"gap={gap}: use a gap >= 0")
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one sequence is needed; use batch >= 1")
    if vocabulary_size < t0 + gap:
        raise ValueError(
            f"gap={gap}: {vocabulary_size} tokens do not make a block of {t0} and a gap, all "
            f"distinct; use t0 + gap <= {vocabulary_size}"
        )
    rows = [generator.choice(vocabulary_size, t0 + gap, replace=False) for _ in range(batch)]
    first = np.stack(rows).astype(np.int64)
    return np.concatenate([first, first[:, :t0]], axis=1)


def check_block(t0: int) -> None:
    """Refuse a block of random tokens that is too short to be repeated.

    Raises:
        ValueError: t0 < 2.
    """
    if t0 < 2:
        raise ValueError(f"t0={t0}: the repeated block needs at least 2 tokens; use t0 >= 2")


def stratified_sources(
    t: int, n: int, generator: np.random.Generator
) -> Int[np.ndarray, " source"]:
    """Draw n of the tokens 0 .. t-1, spread over the sequence: one from each of n parts of it.

    The parts are as equal as whole tokens allow and begin at a random token (the last part may go
    on at the beginning), so that every token is drawn equally often.

    Returns:
        int64 array (source,), in rising order.
    """
    edges = np.arange(n + 1) * t // n
    drawn = generator.integers(edges[:-1], edges[1:]) + generator.integers(t)
    return np.sort(drawn % t)
