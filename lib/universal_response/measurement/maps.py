"""Of how long a text results keep a map (position, source, target)."""

import math

from universal_response.measurement.plan.size import size_of
from universal_response.measurement.settings import Settings
from universal_response.measurement.sums import MAP_NUMBERS
from universal_response.metrics import METRICS
from universal_response.models import title


def check_mapped(model: str, settings: Settings) -> None:
    """Refuse a text too long for a map, before the weights are loaded.

    Args:
        model: what `load_model` takes.
        settings: of a text, all of whose tokens are perturbed.

    Raises:
        ValueError: so many tokens, at so many positions, that the results would hold no map.
    """
    size = size_of(model)
    longest = min(longest_mapped(size.layers), size.context)
    if settings.t > longest:
        raise ValueError(
            f"text: {settings.t} tokens; a map of {title(model)} is kept up to {longest}, shorten "
            "the text"
        )


def longest_mapped(layers: int) -> int:
    """Most tokens of a sequence whose map is kept.

    Positions are counted as 2L + 1, though parallel blocks have only half of them.
    """
    return math.isqrt(MAP_NUMBERS // (len(METRICS) * (2 * layers + 1)))
