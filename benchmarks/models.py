"""Models and tokens for the benchmarks."""

from typing import Any

import numpy as np
import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from universal_response.number_types import torch_dtype
from universal_response.sequences import repeated_random_tokens


def with_random_weights(
    config: transformers.PretrainedConfig, device: torch.device, dtype: str
) -> TransformerBridge:
    """A bridge of this configuration, at full size, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch_dtype(dtype))
    model = model.eval().requires_grad_(False)
    return build_bridge_from_module(model, type(model).__name__, hf_config=model.config)


def random_tokens(model: TransformerBridge, t0: int, sequences: int, seed: int = 0) -> torch.Tensor:
    """Repeated random tokens (sequence, 2 t0), on the device of the model."""
    generator = np.random.default_rng(seed)
    tokens = repeated_random_tokens(t0, sequences, model.cfg.d_vocab, generator)
    return torch.from_numpy(tokens).to(next(model.original_model.parameters()).device)
