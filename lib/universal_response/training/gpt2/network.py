"""The network: a small GPT-2 with random weights."""

import math

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from universal_response.training.gpt2.settings import Network
from universal_response.training.task import generator_of

SCALE = 0.1  # of what positions and tokens are at first; with the usual .02 they hardly differ
MATRIX_SCALE = 0.02
WAVELENGTH = 1e4  # longest of the positions, in tokens, as a multiple of 2 pi


def configuration(network: Network) -> GPT2Config:
    """As transformers wants it."""
    return GPT2Config(
        architectures=["GPT2LMHeadModel"],
        vocab_size=network.vocabulary,
        n_positions=network.context,
        n_embd=network.width,
        n_layer=network.layers,
        n_head=network.heads,
        n_inner=network.inner,
        layer_norm_epsilon=network.norm_epsilon,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )


def initial(network: Network, seed: int) -> GPT2LMHeadModel:
    """Random weights: sinusoids for positions, of a similar scale for tokens, small matrices."""
    # transformers draws weights of its own, from the global source of random numbers.
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(configuration(network))
    generator = generator_of(seed, "weights")
    with torch.no_grad():
        model.transformer.wte.weight.normal_(0, SCALE, generator=generator)
        model.transformer.wpe.weight.copy_(sinusoids(network.context, network.width))
        for name, parameter in model.transformer.h.named_parameters():
            if parameter.ndim == 2:
                # What is added to the residual stream, of all blocks together, is as large.
                of_output = name.endswith("c_proj.weight")
                scale = MATRIX_SCALE / math.sqrt(2 * network.layers if of_output else 1)
                parameter.normal_(0, scale, generator=generator)
    return model


def sinusoids(context: int, width: int) -> Tensor:
    """Position embeddings (position, component): sines and cosines of ever longer waves."""
    wave = WAVELENGTH ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(context)[:, None] * wave
    return SCALE * torch.stack([angle.sin(), angle.cos()], -1).flatten(1)
