"""Measures of progress: pure functions of a pass, a number for every run."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from universal_response.training.passes import Pass
from universal_response.training.task import LABEL_TOKENS


def cross_entropy(
    logits: Float[Tensor, "run sequence label"], target: Int[Tensor, "run sequence"]
) -> Float[Tensor, " run"]:
    """Mean over sequences of minus the log probability of the label that is asked for."""
    found = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    return found.unflatten(0, target.shape).mean(1)


def loss(done: Pass) -> Float[Tensor, " run"]:
    """Loss on the query."""
    return cross_entropy(done["logits"], done.sequences.target)


def accuracy(done: Pass) -> Float[Tensor, " run"]:
    """Share of sequences in which the label that is asked for has the largest logit."""
    return (done["logits"].argmax(-1) == done.sequences.target).to(done["logits"]).mean(1)


def attention_to_labels(done: Pass, layer: int = 2) -> Float[Tensor, "run sequence head 2"]:
    """Attention of the query to the label that is asked for, and to the other one."""
    seen = done[f"pattern{layer}"][:, :, :, -1, list(LABEL_TOKENS)]
    turned = done.sequences.answer[..., None, None] == 1
    return torch.where(turned, seen.flip(-1), seen)


def induction_strength(done: Pass) -> Float[Tensor, "run head"]:
    """How much more a head of layer 2 attends to the right label than to the wrong one."""
    right, wrong = attention_to_labels(done).mean(1).unbind(-1)
    return right - wrong


def previous_token(done: Pass) -> Float[Tensor, "run head"]:
    """Attention of the labels to the token before them, by head of layer 1."""
    pattern = done["pattern1"]
    return torch.stack([pattern[..., t, t - 1] for t in LABEL_TOKENS]).mean((0, 2))


# Of every split, and of the training split alone.
OF_SPLITS: dict[str, Callable[[Pass], Tensor]] = {"loss": loss, "accuracy": accuracy}
OF_HEADS: dict[str, Callable[[Pass], Tensor]] = {
    "induction_strength": induction_strength,
    "previous_token": previous_token,
}
