"""What a model does on a repeated block: accuracy and loss where a token can be told."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from universal_response.sequences import Arrangement, arranged_random_tokens
from universal_response.training.gpt2.settings import Network

SEQUENCES_AT_A_TIME = 64


@dataclass(frozen=True)
class Probe:
    """What a trained model is asked.

    Attributes:
        t0: length T0 of the repeated block, of distinct tokens.
        gap: unseen tokens between the blocks.
        offset: position of the first token.
    """

    t0: int
    gap: int = 0
    offset: int = 0

    @property
    def name(self) -> str:
        """All that is not zero, such as `t0=48, gap=16`."""
        return ", ".join(f"{name}={number}" for name, number in vars(self).items() if number)

    def fits(self, network: Network) -> bool:
        """Whether a network has as many tokens and positions."""
        end = self.offset + 2 * self.t0 + self.gap
        return self.t0 + self.gap <= network.vocabulary and end <= network.context


PROBES = (Probe(8), Probe(16), Probe(64), Probe(48, 16), Probe(64, 16), Probe(64, 0, 128))


def judged(
    model: nn.Module, network: Network, sequences: int = 256, seed: int = 0
) -> dict[str, float]:
    """Accuracy by the name of a probe, of all `PROBES` that fit.

    Args:
        model: of transformers.
        network: its dimensions.
        sequences: of each probe.
        seed: of the tokens.
    """
    found = {}
    for probe in PROBES:
        if probe.fits(network):
            generator = np.random.default_rng(seed)
            tokens = arranged_random_tokens(
                probe.t0, sequences, network.vocabulary, generator, Arrangement(gap=probe.gap), True
            )
            found[probe.name] = float(accuracy(model, tokens, probe.t0, probe.offset).mean())
    return found


@torch.no_grad()
def accuracy(
    model: nn.Module, tokens: Int[np.ndarray, "sequence token"], t0: int, offset: int = 0
) -> Float[Tensor, " sequence"]:
    """Share of the second block, from its second token on, that has the largest logit.

    Args:
        model: of transformers, with learned positions.
        tokens: that end with a block of t0 tokens, which came before.
        t0: length T0 of the block.
        offset: position of the first token.
    """
    found = [
        (logits.argmax(-1) == target).float().mean(1)
        for logits, target in _second_block(model, tokens, t0, offset)
    ]
    return torch.cat(found).cpu()


@torch.no_grad()
def loss(
    model: nn.Module, tokens: Int[np.ndarray, "sequence token"], t0: int, offset: int = 0
) -> Float[Tensor, " sequence"]:
    """Mean of minus the log probability of the same tokens; arguments as for `accuracy`."""
    found = [
        F.cross_entropy(logits.mT, target, reduction="none").mean(1)
        for logits, target in _second_block(model, tokens, t0, offset)
    ]
    return torch.cat(found).cpu()


def _second_block(
    model: nn.Module, tokens: np.ndarray, t0: int, offset: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits for the second block from its second token on, and those tokens."""
    device = next(model.parameters()).device
    positions = torch.arange(offset, offset + tokens.shape[1], device=device)[None]
    for rows in torch.from_numpy(tokens).to(device).split(SEQUENCES_AT_A_TIME):
        logits = model(rows, position_ids=positions.expand(len(rows), -1)).logits
        yield logits[:, -t0:-1], rows[:, 1 - t0 :]
