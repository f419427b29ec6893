"""Whether a model repeats what it has seen: how it predicts the second block of repeated tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from universal_response.activations.logits import Unembedding


@dataclass(frozen=True)
class Predictions:
    """Of the tokens of the second block, each predicted from the one before it.

    Attributes:
        logit_difference: logit of the right token minus the mean logit of the block's other tokens.
        log_probability: of the right token, natural logarithm; nan where it was not asked for.
    """

    logit_difference: Float[Tensor, "sequence query"]
    log_probability: Float[Tensor, "sequence query"]

    @property
    def probability(self) -> Float[Tensor, "sequence query"]:
        """Of the right token."""
        return self.log_probability.exp()


def queries(t0: int) -> slice:
    """The tokens that predict a token of the second block with its predecessor: T0 .. 2 T0 - 2."""
    return slice(t0, 2 * t0 - 1)


def predictions(
    normed: Float[Tensor, "sequence token d_model"],
    tokens: Int[Tensor, "sequence token"],
    unembedding: Unembedding,
    probabilities: bool = False,
) -> Predictions:
    """Predictions of repeated tokens from states after the final norm.

    Args:
        normed: what `propagation.forward` gives.
        tokens: blocks of T0 tokens, each followed by its repetition.
        unembedding: of the model.
        probabilities: whether log-probabilities are asked for: they need all logits.
    """
    t0 = tokens.shape[1] // 2
    rows = normed[:, queries(t0)]
    block = tokens[:, :t0].to(rows.device)
    logits = unembedding.logits(rows, block)
    # Query q - T0 = k is followed by token k + 1 of the block.
    of_right = logits.diagonal(1, 1, 2)
    other = block[:, None] != block[:, 1:, None]
    mean = (logits * other).sum(-1) / other.sum(-1)
    log_probability = torch.full_like(mean, torch.nan)
    if probabilities:
        normaliser = unembedding.log_normaliser(rows.flatten(0, 1)).view(mean.shape)
        log_probability = of_right - normaliser
    return Predictions(of_right - mean, log_probability)


def loss(
    normed: Float[Tensor, "sequence token d_model"],
    tokens: Int[Tensor, "sequence token"],
    unembedding: Unembedding,
) -> Float[Tensor, "sequence query"]:
    """- log p of every token but the first, predicted from the one before it."""
    rows = normed[:, :-1].flatten(0, 1)
    following = tokens[:, 1:].to(rows.device).flatten()
    of_right = unembedding.logits(rows[:, None], following[:, None])[:, 0, 0]
    found = unembedding.log_normaliser(rows) - of_right
    return found.view(len(tokens), -1)
