"""Logits of the ten digits where a digit of the result is predicted, and what is asked of them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Metric, Unembedding
from universal_response.arithmetic.problems import VOCABULARY, Problems, answer_places

DIGITS = 10


@dataclass(frozen=True)
class Answers:
    """What a model says of problems, each digit of the result behind the right ones before it.

    Attributes:
        logits: of the ten digits.
        right: the digits of the result, the units first.
    """

    logits: Float[Tensor, "problem answer digit"]
    right: Int[Tensor, "problem answer"]

    @cached_property
    def log_probability(self) -> Float[Tensor, "problem answer digit"]:
        """Natural logarithm, among digits alone."""
        return self.logits.log_softmax(-1)

    def of(self, digits: Int[Tensor, "problem answer"]) -> Float[Tensor, "problem answer"]:
        """Log probability of one digit of each answer."""
        return self.log_probability.gather(2, digits[..., None])[..., 0]

    @property
    def is_right(self) -> Bool[Tensor, "problem answer"]:
        """Whether the right digit has the largest logit."""
        return self.logits.argmax(-1) == self.right

    @property
    def logit_difference(self) -> Float[Tensor, "problem answer"]:
        """Logit of the right digit less the mean of the nine others."""
        mine = self.logits.gather(2, self.right[..., None])[..., 0]
        return (mine - self.logits.mean(-1)) * DIGITS / (DIGITS - 1)

    @property
    def ratio(self) -> Float[Tensor, "problem answer"]:
        """Logit of the right digit over the largest of all, the notes' measure; 1 where right."""
        mine = self.logits.gather(2, self.right[..., None])[..., 0]
        return mine / self.logits.amax(-1)


def answers(
    normed: Float[Tensor, "problem place d_model"],
    tokens: Int[Tensor, "problem place"],
    unembedding: Unembedding,
) -> Answers:
    """Of the states after the final norm of problems with their results."""
    places = answer_places(tokens.shape[1])
    logits = unembedding.logits(normed[:, places])[..., :DIGITS]
    return Answers(logits, tokens[:, places.start + 1 :].to(logits.device))


def logit_difference(tokens: Int[Tensor, "problem place"], unembedding: Unembedding) -> Metric:
    """Mean over the digits of the result, of every problem."""

    def metric(normed: Tensor) -> Tensor:
        return answers(normed, tokens, unembedding).logit_difference.mean(1)

    return metric


def tokens_of(problems: Problems, model: TransformerBridge) -> Int[Tensor, "problem place"]:
    """Token ids of problems with their results, for a model that can read them.

    Raises:
        ValueError: the model is of another task.
    """
    tokens = torch.from_numpy(problems.tokens())
    check_task(model.cfg.d_vocab, model.cfg.n_ctx, tokens.shape[1])
    return tokens


def check_task(vocabulary: int, context: int, places: int) -> None:
    """Refuse a model of another task.

    Raises:
        ValueError: another vocabulary than that of problems, or a context too short for them.
    """
    if vocabulary != VOCABULARY or context < places:
        raise ValueError(
            f"model: {vocabulary} tokens and a context of {context}; one that adds here has "
            f"{VOCABULARY} and at least {places}; use a registered adder or train one with "
            "`universal-response train adder`"
        )
