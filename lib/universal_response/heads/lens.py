"""The logit lens: what the final norm and the unembedding make of the state at every position l."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.activations.logits import Unembedding
from universal_response.activations.outputs import Outputs
from universal_response.heads.behaviour import predictions, queries


@dataclass(frozen=True)
class Lens:
    """Of queries of the second block, at every position l.

    Attributes:
        logit_difference: right token against the mean of the block's others.
        log_probability: of the right token.
        rank: how many tokens have a larger logit than the right one.
    """

    logit_difference: Float[Tensor, "position sequence query"]
    log_probability: Float[Tensor, "position sequence query"]
    rank: Float[Tensor, "position sequence query"]


def logit_lens(of: Outputs, unembedding: Unembedding) -> Lens:
    """Read the state at l = 0 .. 2L as if it were the last; there it is what the model predicts."""
    t0 = of.tokens.shape[1] // 2
    right = of.tokens[:, 1:t0].to(of.normed.device).flatten()
    differences, probabilities, ranks = [], [], []
    for state in of.states:
        normed = unembedding.normed(state)
        difference = predictions(normed, of.tokens, unembedding).logit_difference
        rows = normed[:, queries(t0)].flatten(0, 1)
        log_probability, rank = unembedding.log_probability_and_rank(rows, right)
        differences.append(difference)
        probabilities.append(log_probability.view(difference.shape))
        ranks.append(rank.view(difference.shape).float())
    return Lens(torch.stack(differences), torch.stack(probabilities), torch.stack(ranks))
