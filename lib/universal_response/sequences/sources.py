"""Which tokens of a sequence are perturbed."""

import numpy as np
from jaxtyping import Int


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
