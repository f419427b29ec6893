"""Response functions of a model that is edited: which heads the response needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response import metrics
from universal_response.propagation import Edit, chunked_inner_products


@dataclass(frozen=True)
class EditedResponse:
    """C_delta of a model under edits, at some distances.

    Attributes:
        mean: over the pairs of a sequence, (strength, position, sequence, distance); nan where a
            sequence has no pair.
        log_mean: the same of logarithms, over pairs that respond.
    """

    mean: Float[Tensor, "strength position sequence distance"]
    log_mean: Float[Tensor, "strength position sequence distance"]


def edited_response(
    tokens: Int[Tensor, "sequence token"],
    model: TransformerBridge,
    sources: Int[Tensor, "sequence source"],
    distances: Sequence[int],
    strengths: Sequence[float | None],
    edits: Sequence[Edit] = (),
) -> EditedResponse:
    """Perturb sources of an edited model.

    Args:
        tokens: token ids.
        model: a bridge whose attention can be opened.
        sources: which tokens of each sequence are perturbed.
        distances: dj of the targets.
        strengths: of the perturbation; None for the limit.
        edits: what is done to the model.
    """
    chunks = [None if each is None else [each] for each in strengths]
    found = chunked_inner_products(tokens, model, chunks, sources=sources, edits=edits)
    by_strength = [_at_distances(metrics.delta(each)[:, 0], sources, distances) for each in found]
    plain, logs = zip(*by_strength, strict=True)
    return EditedResponse(torch.stack(plain), torch.stack(logs))


def _at_distances(
    response: Float[Tensor, "position sequence source target"],
    sources: Int[Tensor, "sequence source"],
    distances: Sequence[int],
) -> tuple[Tensor, Tensor]:
    t, plain, logs = response.shape[-1], [], []
    for distance in distances:
        targets = sources.to(response.device) + distance
        there = targets < t
        values = response.gather(
            -1, targets.clamp(max=t - 1).expand(len(response), -1, -1)[..., None]
        )
        values = values[..., 0].where(there, torch.nan)
        plain.append(values.nanmean(-1))
        logs.append(values.where(values > 0, torch.nan).log().nanmean(-1))
    return torch.stack(plain, -1), torch.stack(logs, -1)
