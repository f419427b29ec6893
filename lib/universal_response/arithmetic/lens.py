"""The logit lens, and what each part writes: logits of the right digit and of the operands' digits.

Deletion of an operand shows as a part that writes against the operand's digit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Outputs, Unembedding, components, layer_weights
from universal_response.arithmetic.answers import DIGITS
from universal_response.arithmetic.problems import answer_places


@dataclass(frozen=True)
class Written:
    """Logits of the ten digits that each part writes, less their mean.

    With the scale of the final norm held fixed they sum to those of the model.

    Attributes:
        embedding: (problem, answer, digit).
        heads: (layer, head, problem, answer, digit).
        mlps: (layer, problem, answer, digit).
    """

    embedding: Float[Tensor, "problem answer digit"]
    heads: Float[Tensor, "layer head problem answer digit"]
    mlps: Float[Tensor, "layer problem answer digit"]

    @property
    def total(self) -> Float[Tensor, "problem answer digit"]:
        return self.embedding + self.heads.sum((0, 1)) + self.mlps.sum(0)


def written(of: Outputs, model: TransformerBridge, unembedding: Unembedding) -> Written:
    """Direct effects of all parts where digits of the result are predicted."""
    places = answer_places(of.tokens.shape[1])
    last = of.states[-1][:, places]
    rows = unembedding.weight[:DIGITS].to(last)
    rows = (rows - rows.mean(0)) * unembedding.multiplier
    found: dict[str, list[Tensor]] = {"embedding": [], "head": [], "mlp": [], "bias": []}
    for part in components(of, layer_weights(model)):
        found[part.kind].append(unembedding.norm.fixed(last, part.added[:, places]) @ rows.T)
    (embedding,), n_layers = found["embedding"], len(of.z)
    return Written(
        embedding,
        torch.stack(found["head"]).unflatten(0, (n_layers, -1)),
        torch.stack(found["mlp"]),
    )


def lens(of: Outputs, unembedding: Unembedding) -> Float[Tensor, "position problem answer digit"]:
    """Logits of the ten digits, less their mean, as if the state at every l were the last."""
    places = answer_places(of.tokens.shape[1])
    found = [
        unembedding.logits(unembedding.normed(state[:, places]))[..., :DIGITS]
        for state in of.states
    ]
    logits = torch.stack(found)
    return logits - logits.mean(-1, keepdim=True)


def followed(
    tokens: Int[Tensor, "problem place"], seed: int = 0
) -> dict[str, Int[Tensor, "problem answer"]]:
    """Digits that are looked at: the right one, those of both operands at its place, and another.

    The first digit of a result has no place in the operands: -1. The other one, a control, is drawn
    from those that are none of the three.
    """
    places = answer_places(tokens.shape[1])
    digits = places.stop - places.start - 1
    none = torch.full_like(tokens[:, :1], -1)
    first = torch.cat([tokens[:, :digits].flip(1), none], 1)
    second = torch.cat([tokens[:, digits + 1 : 2 * digits + 1].flip(1), none], 1)
    right = tokens[:, places.start + 1 :]
    free = torch.rand((*right.shape, DIGITS), generator=torch.Generator().manual_seed(seed))
    for taken in (right, first, second):
        here = taken >= 0
        free[here] = free[here].scatter(1, taken[here][:, None], -1.0)
    return {"right": right, "first": first, "second": second, "other": free.argmax(-1)}


def along(
    logits: Float[Tensor, "*part problem answer digit"], tokens: Int[Tensor, "problem place"]
) -> dict[str, Float[Tensor, "*part problem answer"]]:
    """Logits of `followed` digits; nan where the three are not all different."""
    named = followed(tokens)
    operands = [named[name] for name in ("first", "second")]
    alike = (named["right"] == operands[0]) | (named["right"] == operands[1])
    alike |= (operands[0] == operands[1]) & (operands[0] >= 0)
    found = {}
    for name, digit in named.items():
        at = digit.clamp(min=0)[..., None].to(logits.device)
        mine = logits.gather(-1, at.expand(*logits.shape[:-1], 1))[..., 0]
        found[name] = mine.masked_fill((alike | (digit < 0)).to(mine.device), torch.nan)
    return found
