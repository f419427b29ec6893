"""Token-passes and floating-point operations of a measurement."""

from universal_response.measurement.plan.size import Size
from universal_response.measurement.settings import Settings, sources_of


def token_passes(settings: Settings) -> int:
    """Tokens passed through the model: T - i for every source i of a sequence and strength.

    That is T (T + 1) / 2 per sequence and strength where all tokens are sources. Strengths are the
    epsilons and the linear limit, once. This is what the progress bar of `measure` counts to.
    """
    return (len(settings.epsilons) + settings.linear) * _passes_per_strength(settings)


def passes_with_clean(settings: Settings) -> int:
    """`token_passes` and those of the clean pass, T tokens a sequence."""
    return token_passes(settings) + settings.batch * settings.t


def flops_per_token(block_weights: int, layers: int, heads_width: int, context: float | int) -> int:
    """Floating-point operations of one token in one pass through the blocks.

    A matrix product takes a multiplication and an addition for every weight and token. Attention
    takes two products, queries with keys and scores with values, each of heads x head_dim for every
    key: 2 block_weights + 4 layers x heads_width x context. Norms, activations and the products of
    the metrics are neglected: a part of the order of 1 / width.

    Args:
        block_weights: weights in the matrix products of the blocks.
        layers: number of blocks.
        heads_width: heads x head_dim.
        context: keys that a token is multiplied with.
    """
    return 2 * block_weights + round(4 * layers * heads_width * context)


def keys_per_token(t: int) -> float:
    """Keys that a token of a suffix is multiplied with, on average over all sources.

    A change of a query meets all T keys, and a query all changed ones, those of its suffix, also
    where the causal mask or a window hides them; values likewise.
    """
    return t + (2 * t + 1) / 3


def flops(size: Size, settings: Settings) -> int:
    """Floating-point operations of a measurement.

    `flops_per_token` times the token-passes; the linear limit costs as much as one strength. The
    clean pass is neglected: one token-pass in (T + 1) / 2 times the number of strengths. Blocks are
    taken to be dense: a mixture of experts is counted with all its experts.
    """
    width, keys = size.heads * size.head_dim, keys_per_token(settings.t)
    return token_passes(settings) * flops_per_token(size.block_weights, size.layers, width, keys)


def _passes_per_strength(settings: Settings) -> int:
    return int((settings.t - sources_of(settings)).sum())
