"""Fewer sources in more sequences, at equal standard error."""

import math
from dataclasses import dataclass, replace

from universal_response.measurement.plan.operations import passes_with_clean
from universal_response.measurement.settings import Settings

# Correlation of log C_delta between pairs of one sequence at dj = T0 - 1, about as in Gemma 3 270M.
# In SmolLM2-135M and the small GPT-2 it is smaller (`response.pairs_alike` of the shipped results).
ALIKE = 0.05

# How many sources of a sequence are proposed.
SAMPLE = 8


@dataclass(frozen=True)
class Sample:
    """Fewer sources in more sequences.

    Attributes:
        sources: perturbed tokens of each sequence.
        batch: sequences that give the standard error of the measurement asked for.
        cost: passes of tokens, clean ones counted, as a part of those of that measurement.
    """

    sources: int
    batch: int
    cost: float


def equivalent_sample(
    settings: Settings, sources: int = SAMPLE, alike: float = ALIKE
) -> Sample | None:
    """A measurement with the standard error of this one at the expected peak, from fewer sources.

    n pairs of a sequence that are correlated by r are worth n / (1 + (n - 1) r) independent ones.
    With all sources there are T - dj pairs at dj in a sequence, with a sample its part of them.

    Args:
        settings: what is to be measured.
        sources: how many tokens of a sequence to perturb instead.
        alike: the correlation r.

    Returns:
        None where a sample saves nothing, or where there are no more sequences to be had.
    """
    peak, perturbed = settings.peak, settings.sources or settings.t
    if settings.tokens or peak is None or perturbed <= sources:
        return None

    def worth(n_sources: int) -> float:
        pairs = max(n_sources * (settings.t - peak) / settings.t, 1)
        return pairs / (1 + (pairs - 1) * alike)

    batch = math.ceil(settings.batch * worth(perturbed) / worth(sources))
    sampled = replace(settings, sources=sources, batch=batch)
    part = passes_with_clean(sampled) / passes_with_clean(settings)
    return Sample(sources, batch, part) if part < 1 else None
