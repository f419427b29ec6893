"""From the last state to logits, of all tokens or of some."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations.weights import norm_of
from universal_response.propagation import Norm

# Numbers of logits held at a time.
_AT_A_TIME = 1 << 27


@dataclass(frozen=True)
class Unembedding:
    """What comes after the blocks.

    Attributes:
        norm: the final one.
        weight: (vocabulary, d_model).
        bias: (vocabulary,), or None.
        multiplier: of the logits.
        cap: that they approach, or None.
    """

    norm: Norm
    weight: Float[Tensor, "vocabulary d_model"]
    bias: Float[Tensor, " vocabulary"] | None
    multiplier: float
    cap: float | None

    def normed(self, state: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """The final norm of a state of the residual stream."""
        return self.norm.fixed(state, state) + self.norm.bias.to(state)

    def logits(
        self,
        normed: Float[Tensor, "*batch row d_model"],
        tokens: Int[Tensor, "*batch token"] | None = None,
    ) -> Float[Tensor, "*batch row token"]:
        """Of states after the final norm: of all tokens, or of some for each part of a batch."""
        weight, bias = self.weight.to(normed.dtype), self.bias
        if tokens is not None:
            weight, bias = weight[tokens], None if bias is None else bias[tokens].unsqueeze(-2)
        found = normed @ weight.transpose(-1, -2)
        if bias is not None:
            found = found + bias
        found = found * self.multiplier
        return found if self.cap is None else self.cap * torch.tanh(found / self.cap)

    def log_normaliser(self, normed: Float[Tensor, "row d_model"]) -> Float[Tensor, " row"]:
        """Logarithm of the sum of e^logit over the vocabulary."""
        size = max(_AT_A_TIME // len(self.weight), 1)
        return torch.cat([self.logits(rows).logsumexp(-1) for rows in normed.split(size)])

    def log_probability_and_rank(
        self, normed: Float[Tensor, "row d_model"], token: Int[Tensor, " row"]
    ) -> tuple[Float[Tensor, " row"], Int[Tensor, " row"]]:
        """Of one token in each row, and how many tokens have a larger logit than that one."""
        size = max(_AT_A_TIME // len(self.weight), 1)
        found = []
        for rows, asked in zip(normed.split(size), token.split(size), strict=True):
            logits = self.logits(rows)
            mine = logits.gather(1, asked[:, None])
            found.append((mine[:, 0] - logits.logsumexp(-1), (logits > mine).sum(1)))
        log_probabilities, ranks = zip(*found, strict=True)
        return torch.cat(log_probabilities), torch.cat(ranks)


def unembedding_of(model: TransformerBridge) -> Unembedding:
    """Of a bridge.

    Raises:
        ValueError: its final norm is not of a known form.
    """
    inner: Any = model.original_model
    config, head = inner.config, inner.get_output_embeddings()
    head = getattr(head, "original_component", head)
    multiplier = getattr(config, "logit_scale", None)
    if multiplier is None:
        multiplier = 1 / getattr(config, "logits_scaling", 1.0)
    return Unembedding(
        norm_of(model.ln_final, model.cfg.d_model),
        head.weight.detach(),
        None if head.bias is None else head.bias.detach(),
        float(multiplier),
        getattr(config, "final_logit_softcapping", None),
    )
