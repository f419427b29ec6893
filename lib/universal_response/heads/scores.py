"""What a head looks at: mean attention along stripes of its pattern."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation import Seen, forward

Pattern = Float[Tensor, "sequence head query key"]
# Called with a pattern and the tokens: of every sequence and head a number.
Score = Callable[[Pattern, Int[Tensor, "sequence token"]], Float[Tensor, "sequence head"]]


def stripe(pattern: Pattern, offset: int, first: int) -> Float[Tensor, "sequence head"]:
    """Mean attention of the queries q >= first to the key q - offset."""
    diagonal = pattern.diagonal(-offset, 2, 3)
    return diagonal[..., first - offset :].mean(-1)


def previous_token(pattern: Pattern, tokens: Int[Tensor, "sequence token"]) -> Tensor:
    """Attention to the token before, from the second token on."""
    return stripe(pattern, 1, 1)


def duplicate_token(pattern: Pattern, tokens: Int[Tensor, "sequence token"]) -> Tensor:
    """Attention of the second block to the same token in the first: to q - T0."""
    t0 = tokens.shape[1] // 2
    return stripe(pattern, t0, t0)


def induction(pattern: Pattern, tokens: Int[Tensor, "sequence token"]) -> Tensor:
    """Attention of the second block to what followed the same token: to q - (T0 - 1)."""
    t0 = tokens.shape[1] // 2
    return stripe(pattern, t0 - 1, t0)


def prefix_matching(pattern: Pattern, tokens: Int[Tensor, "sequence token"]) -> Tensor:
    """Attention to all tokens whose predecessor is the query's token, of queries that have one.

    The same as `induction` on repeated blocks in which no token meets itself by chance; it asks for
    no distance, so that a head which has learned one is told apart where blocks stand apart.
    """
    tokens = tokens.to(pattern.device)
    matches = tokens[:, :, None] == tokens.roll(1, 1)[:, None, :]
    t = tokens.shape[1]
    keys = torch.arange(t, device=tokens.device)
    matches &= (keys[None, :] <= keys[:, None]) & (keys > 0)
    asked = matches.any(-1)[:, None]
    return (pattern * matches[:, None]).sum(-1).where(asked, 0).sum(-1) / asked.sum(-1)


def by_offset(
    pattern: Pattern, first: int, n_offsets: int
) -> Float[Tensor, "sequence head offset"]:
    """Mean attention of the queries q >= first to the key q - offset, for every offset.

    Args:
        pattern: of a layer.
        first: the first query, at least n_offsets - 1.
        n_offsets: offsets 0 .. n_offsets - 1.
    """
    return torch.stack([stripe(pattern, offset, first) for offset in range(n_offsets)], -1)


SCORES: dict[str, Score] = {
    "previous_token": previous_token,
    "duplicate_token": duplicate_token,
    "induction": induction,
    "prefix_matching": prefix_matching,
}


def attention_scores(
    tokens: Int[Tensor, "sequence token"], model: TransformerBridge
) -> Float[Tensor, "score sequence layer head"]:
    """All `SCORES` of every head.

    Args:
        tokens: blocks, each followed by its repetition; or by something else, as a control.
        model: a bridge whose attention can be opened.

    Raises:
        ValueError: what `propagation.forward` refuses.
    """
    found: list[Tensor] = []

    def score(seen: Seen) -> None:
        found.append(torch.stack([each(seen.value, tokens) for each in SCORES.values()]))

    forward(tokens, model, observe={"pattern": score})
    return torch.stack(found, dim=2)
