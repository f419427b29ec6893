"""The clamps of the source, and heads ablated or kept, all made of `Clamp`.

Layers are counted from 1 and heads from 0. In the source all but `copied` go with one active head
in layer 2 (`kept(2, [3])`).
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from universal_response.training.clamping import Clamp, Rule
from universal_response.training.model import HEADS, LAYERS, Model
from universal_response.training.passes import Pass, forward
from universal_response.training.task import LABEL_TOKENS, N_TOKENS

Clamps = tuple[Clamp, ...]
# The active head of layer 2, and the previous-token head of layer 1.
HEAD, PREVIOUS_HEAD = 3, 2
IMPOSSIBLE = -1e9


def dropped(layer: int, heads: Iterable[int]) -> Clamps:
    """Heads that add nothing: their values are 0."""
    chosen = _checked(heads)

    def rule(value: Tensor, done: Pass) -> Tensor:
        return torch.where(_mask(value, chosen), 0, value)

    return (Clamp(f"v{layer}", rule, f"heads {chosen} add nothing"),)


def kept(layer: int, heads: Iterable[int]) -> Clamps:
    """All other heads of the layer add nothing."""
    return dropped(layer, set(range(HEADS)) - set(_checked(heads)))


def pattern_preserving(layer: int, heads: Iterable[int]) -> Clamps:
    """Heads add nothing, and every head of both layers looks where it did."""
    same = tuple(Clamp(f"pattern{n}", _as_before(f"pattern{n}"), "as before") for n in LAYERS)
    return same + dropped(layer, heads)


def value_preserving(layer: int, heads: Iterable[int]) -> Clamps:
    """Heads add nothing, and all others carry the values they did; later patterns are new."""
    same = tuple(Clamp(f"v{n}", _as_before(f"v{n}"), "as before") for n in LAYERS)
    return same + dropped(layer, heads)


def path_dropped() -> Clamps:
    """What layer 1 adds does not reach the output by itself, only through layer 2."""

    def rule(value: Tensor, done: Pass) -> Tensor:
        return done["x0"] + done["out2"]

    return (Clamp("x2", rule, "without what layer 1 adds"),)


def previous_token(heads: Iterable[int] = (PREVIOUS_HEAD,)) -> Clamps:
    """PT: heads of layer 1 look at the token before, the first at itself."""
    chosen = _checked(heads)
    shifted = torch.eye(N_TOKENS).roll(-1, 1).tril()
    shifted[0, 0] = 1

    def rule(value: Tensor, done: Pass) -> Tensor:
        return torch.where(_mask(value, chosen), shifted.to(value), value)

    return (Clamp("pattern1", rule, f"heads {chosen} look at the token before"),)


def first_layer() -> Clamps:
    """L1: layer 2 finds at 1 .. 3 the token before, for queries and keys; else tokens alone."""

    def shifted(value: Tensor, done: Pass) -> Tensor:
        x = done["x0"]
        return x[:, :, [0, 0, 1, 2, 4]]

    def tokens(value: Tensor, done: Pass) -> Tensor:
        return done["x0"]

    return (
        Clamp("x1", tokens, "tokens alone"),
        Clamp("query_input2", shifted, "the token before"),
        Clamp("key_input2", shifted, "the token before"),
    )


def matched(strength: float = 1.0, heads: Iterable[int] = (HEAD,)) -> Clamps:
    """Match: heads of layer 2 look, from the query, at the label that is asked for.

    Args:
        strength: attention to it; the other label gets the rest.
        heads: which.
    """
    chosen = _checked(heads)

    def rule(value: Tensor, done: Pass) -> Tensor:
        dtype, device = value.dtype, value.device
        weights = torch.tensor([1 - strength, strength], dtype=dtype, device=device)
        answer = done.sequences.answer[..., None, None]
        found = torch.zeros(*answer.shape, N_TOKENS, dtype=dtype, device=device)
        for place, token in enumerate(LABEL_TOKENS):
            found[..., token] = weights[(answer == place).long()]
        query = torch.arange(N_TOKENS, device=device)[:, None] == N_TOKENS - 1
        return torch.where(_mask(value, chosen) & query, found, value)

    return (Clamp("pattern2", rule, f"heads {chosen} match with strength {strength:g}"),)


def copied(head: int = HEAD) -> Clamps:
    """Copy: the scores of a head of layer 2 are the logits of the two labels it looks at."""
    (head,) = _checked([head])

    def rule(value: Tensor, done: Pass) -> Tensor:
        scores = done["scores2"][:, :, head, -1, list(LABEL_TOKENS)]
        places = F.one_hot(done.sequences.labels, value.shape[-1]).to(value.dtype)
        placed = torch.matmul(scores[:, :, None], places)[:, :, 0]
        return torch.where(places.sum(2) > 0, placed, IMPOSSIBLE)

    return (Clamp("logits", rule, f"scores of head {head}"),)


def grafted(model: Model) -> Clamps:
    """Layer 2 reads what embedding and layer 1 of another model give, which do not learn.

    Args:
        model: with as many runs as the one that is clamped.
    """

    def rule(value: Tensor, done: Pass) -> Tensor:
        if model.n_runs != done.model.n_runs:
            raise ValueError(
                f"model: of {model.n_runs} runs; graft one of {done.model.n_runs}, as is clamped"
            )
        with torch.no_grad():
            return forward(model.to(value.device), done.sequences)["x1"]

    return (Clamp("x1", rule, f"of the model {model.sha256}"),)


def _as_before(name: str) -> Rule:
    return lambda value, done: done.base[name]


def _checked(heads: Iterable[int]) -> list[int]:
    chosen = sorted(set(heads))
    for head in chosen:
        if not 0 <= head < HEADS:
            raise ValueError(f"heads: there is no head {head}; use 0 to {HEADS - 1}")
    return chosen


def _mask(value: Tensor, heads: list[int]) -> Tensor:
    """Which numbers of q, k, v, z, scores or pattern are of these heads."""
    mask = torch.zeros(HEADS, dtype=torch.bool, device=value.device)
    mask[heads] = True
    return mask[:, None, None]


_ONE = kept(2, [HEAD])
# Those of the source by its names, each with the heads that it leaves active.
CLAMPS: dict[str, Clamps] = {
    "none": _ONE,
    "PT": _ONE + previous_token(),
    "L1": _ONE + first_layer(),
    "match": _ONE + matched(),
    "copy": copied(),
    "L1 + copy": first_layer() + copied(),
}
