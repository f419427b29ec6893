"""A small part of a study that is measured again to verify a results file."""

import torch
import xarray as xr

from universal_response.heads.behaviour import loss
from universal_response.heads.scores import SCORES, attention_scores
from universal_response.heads.split import carried, split_changes
from universal_response.heads.study.carrying import strengths
from universal_response.heads.study.material import Material
from universal_response.measurement import numbers
from universal_response.propagation import forward


def witness(material: Material) -> xr.Dataset:
    """Of the first evaluated sequence: scores, shares of the response, and the loss by place.

    Shares are those of the first source, at dj = T0 - 1 and the last position, by heads and parts
    and then by MLPs.
    """
    tokens, t0 = material.evaluated_on[:1], material.settings.t0
    scores = attention_scores(tokens, material.model)[:, 0]
    shares = []
    for epsilon in strengths(material).values():
        changes = split_changes(tokens, material.model, material.sources[:1, :1], [t0 - 1], epsilon)
        heads, mlps, whole = (each[0, -1] for each in carried(changes))
        shares.append(torch.cat([heads.flatten(), mlps]) / whole)
    lost = loss(forward(tokens, material.model), tokens, material.unembedding)[0]
    return xr.Dataset(
        {
            "witness_score": (("score", "layer", "head"), numbers(scores)),
            "witness_share": (("strength", "component"), numbers(torch.stack(shares))),
            "witness_loss": ("query", numbers(lost)),
        },
        {"score": list(SCORES), "strength": list(strengths(material))},
    )
