"""The answer as a difference of logits, and what heads of layer 2 add to it."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from universal_response.training.model import D_HEAD, HEADS
from universal_response.training.passes import Pass


def logit_difference(done: Pass) -> Float[Tensor, " run"]:
    """Logit of the right label less that of the other one in the sequence, mean over sequences."""
    return (done["logits"] * _signs(done)).sum(-1).mean(1)


def answered(done: Pass, base: Pass) -> Float[Tensor, "run head"]:
    """What each head of layer 2 adds to the difference of logits, mean over sequences.

    It is what the head adds at the query, through the last norm and the unembedding.

    Args:
        done: the pass.
        base: where the scale of the last norm is taken from, so that no head enters another's part.
    """
    p = done.model.parameters
    weight = p["w_o2"].unflatten(1, (HEADS, D_HEAD))
    out = torch.einsum("rshd,rhdw->rshw", done["z2"][:, :, :, -1], weight)
    normed = through_norm(out, base["x2"][:, :, -1:], p["gain"], done.model.norm_epsilon)
    return torch.einsum("rshw,rwl,rsl->rsh", normed, p["unembed"], _signs(done)).mean(1)


def through_norm(
    part: Float[Tensor, "run sequence n width"],
    whole: Float[Tensor, "run sequence #n width"],
    gain: Float[Tensor, "run width"],
    epsilon: float,
) -> Float[Tensor, "run sequence n width"]:
    """What a norm makes of a part of what it reads, at the scale of the whole; parts add up.

    Args:
        part: of the residual stream.
        whole: what the norm reads.
        gain: of the norm; its shift is no part's.
        epsilon: added to the variance.
    """
    scale = (whole.var(-1, correction=0, keepdim=True) + epsilon).rsqrt()
    return (part - part.mean(-1, keepdim=True)) * scale * gain[:, None, None]


def _signs(done: Pass) -> Float[Tensor, "run sequence label"]:
    """1 of the label that is asked for, -1 of the other one in the sequence, else 0."""
    read = done.sequences
    other = read.labels.gather(-1, 1 - read.answer[..., None])[..., 0]
    right, wrong = (F.one_hot(each, done.model.n_labels) for each in (read.target, other))
    return (right - wrong).to(done["logits"])
