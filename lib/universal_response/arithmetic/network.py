"""The network: a small Llama with random weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from universal_response.arithmetic.problems import VOCABULARY, places
from universal_response.arithmetic.settings import AdderSettings


def configuration(settings: AdderSettings) -> LlamaConfig:
    """As transformers wants it; a sequence is one problem with its result."""
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=settings.width,
        intermediate_size=settings.inner,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=len(places(settings.digits)),
        rms_norm_eps=1e-6,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def initial(settings: AdderSettings) -> LlamaForCausalLM:
    """Random weights that the seed decides, the same whatever was drawn before."""
    # transformers draws from the global source of random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(configuration(settings))
