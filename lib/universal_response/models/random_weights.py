"""The control of a model: the same architecture with random weights."""

import hashlib
from typing import Any

import numpy as np

# `smollm2-135m@random` is SmolLM2's architecture with random weights.
SUFFIX = "@random"
SEED = 0


def base_of(name: str) -> str:
    """The model whose architecture is meant."""
    return name.removesuffix(SUFFIX)


def is_random(name: str) -> bool:
    """Whether a name asks for random weights."""
    return name.endswith(SUFFIX)


def random_digest(sha256: str) -> str:
    """What tells random weights from trained ones, and from those of other architectures."""
    if sha256 == "unknown":
        return sha256
    return hashlib.sha256(f"{sha256} random {SEED}".encode()).hexdigest()


def redrawn(model: Any) -> Any:
    """A model of transformers of the same configuration, as before any training.

    Matrices are normal with the standard deviation that the configuration names, and drawn by NumPy
    so that they are the same everywhere; gains and biases are as the architecture begins.
    """
    fresh = type(model)(model.config).to(next(model.parameters()).dtype)
    generator = np.random.default_rng(SEED)
    spread = getattr(model.config, "initializer_range", 0.02)
    for weights in fresh.parameters():
        if weights.ndim > 1:
            drawn = generator.standard_normal(tuple(weights.shape), dtype=np.float32)
            weights.data.copy_(weights.new_tensor(drawn * np.float32(spread)))
    return fresh
