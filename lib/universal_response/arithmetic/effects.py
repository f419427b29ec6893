"""Indirect effects: how the answer moves where one node gives what it gives in another problem.

With r the right digit of a problem and r' that of the donor, P before and P* after the patch, the
indirect effect is half of (P*(r') - P(r')) / P(r') + (P(r) - P*(r)) / P*(r) (Stolfo et al. 2023).
A model that is sure divides by almost nothing there. Beside it stands the same of logarithms, half
of log P*(r') / P(r') + log P(r) / P*(r): half of the change of the logit difference.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Outputs, Unembedding
from universal_response.arithmetic.answers import Answers, answers
from universal_response.arithmetic.nodes import Node, replaced
from universal_response.propagation import forward


@dataclass(frozen=True)
class Effects:
    """Of patches, by problem and digit of the result; nan where both problems have the same digit.

    Attributes:
        indirect: by the formula.
        logit: half of the change of the logit difference, r' against r.
    """

    indirect: Float[Tensor, "... problem answer"]
    logit: Float[Tensor, "... problem answer"]


def effects(before: Answers, after: Answers, donor: Int[Tensor, "problem answer"]) -> Effects:
    """Of one patch.

    Args:
        before: answers of the run that is patched.
        after: answers with the patch.
        donor: right digits of the donors.
    """
    of_donor = after.of(donor) - before.of(donor)
    of_right = before.of(before.right) - after.of(before.right)
    same = before.right == donor
    indirect = (of_donor.expm1() + of_right.expm1()) / 2
    logit = (of_donor + of_right) / 2
    return Effects(indirect.masked_fill(same, torch.nan), logit.masked_fill(same, torch.nan))


def distance(before: Answers, after: Answers) -> Float[Tensor, "problem answer"]:
    """Probability that must be moved to make one answer of the other (total variation)."""
    return (before.log_probability.exp() - after.log_probability.exp()).abs().sum(-1) / 2


def each_patched(
    nodes: list[Node],
    of: Outputs,
    by: Outputs,
    model: TransformerBridge,
    unembedding: Unembedding,
) -> Effects:
    """Of every node in turn, patched from another run.

    Args:
        nodes: which.
        of: the run that is patched.
        by: run of as many donors.
        model: the same model.
        unembedding: of the model.
    """
    before = answers(of.normed, of.tokens, unembedding)
    donor = answers(by.normed, by.tokens, unembedding).right
    found = []
    for node in nodes:
        edits = replaced([node], by)
        normed = forward(of.tokens, model, edits=edits, start=of.start(node.layer))
        found.append(effects(before, answers(normed, of.tokens, unembedding), donor))
    return Effects(
        torch.stack([each.indirect for each in found]), torch.stack([each.logit for each in found])
    )
