"""Response matrices by distance: the pairs (i, i + dj), their sums and their logarithms.

Pure functions of C(i, j), where any number of sources i of a sequence may have been perturbed.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def by_distance(
    matrix: Float[Tensor, "*batch sequence source target"],
    sources: Int[Tensor, "sequence source"],
) -> Float[Tensor, "*batch sequence source delta_j"]:
    """C(i, i + dj) for dj = 0 .. T-1, nan where i + dj lies beyond the sequence.

    Args:
        matrix: response matrices; entries left of the source are ignored.
        sources: the perturbed token i of every row.
    """
    t = matrix.shape[-1]
    target = sources.to(matrix.device)[..., None] + torch.arange(t, device=matrix.device)
    rows = matrix.gather(-1, target.clamp(max=t - 1).expand(matrix.shape))
    return rows.masked_fill(target >= t, torch.nan)


def number_of_pairs(
    sources: Int[Tensor, "sequence source"], t: int
) -> Int[Tensor, "sequence delta_j"]:
    """How many of the sources of each sequence have a token i + dj in it, for dj = 0 .. T-1."""
    return (sources[..., None] + torch.arange(t, device=sources.device) < t).sum(-2)


def log_sums(
    rows: Float[Tensor, "*batch source delta_j"],
) -> tuple[Float[Tensor, "*batch delta_j"], Int[Tensor, "*batch delta_j"]]:
    """Sum over sources of log C, and over how many: those with C > 0.

    Where C is exactly 0 nothing responded (or, for the angle, nothing turned), and there is no
    logarithm: such pairs are counted out, and no constant is added.
    """
    positive = rows > 0
    logs = torch.where(positive, rows, 1).log_()
    return logs.sum(-2), positive.sum(-2)


def response_function(matrix: Float[Tensor, "*batch t t"]) -> Float[Tensor, "*batch t"]:
    """Mean of C(i, i + dj) over every source i for which i + dj is in the sequence.

    Args:
        matrix: response matrices (..., source, target) of all sources; entries left of the source
            are ignored.

    Returns:
        Response functions (..., delta_j) with delta_j = 0 .. T-1.
    """
    every = torch.arange(matrix.shape[-1])[None]
    return by_distance(matrix[..., None, :, :], every).nanmean(-2).squeeze(-2)
