"""How much of what a head of layer 1 writes a head of layer 2 reads, by their weights alone.

Norms enter by their gains and by the mean that they take off, turns by the places of the query and
of the labels. Scales of norms, a positive number of each token, are left out.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from universal_response.training.model import D_HEAD, HEADS, WIDTH, Model
from universal_response.training.rotary import rotated
from universal_response.training.task import LABEL_TOKENS, N_TOKENS

# Where layer 2 reads, each by its own weights.
INPUTS = ("query", "key", "value")
# Root mean square where all that is written is turned at random: |A R B|^2 is then, on average over
# rotations R, |A|^2 |B|^2 / width. Initial weights are as good as turned.
RANDOM_COMPOSITION = WIDTH**-0.5

Matrices = Float[Tensor, "run head width width"]
ByHead = Float[Tensor, "run head width d_head"]


@torch.no_grad()
def weight_composition(model: Model, name: str) -> Float[Tensor, "run head1 head2"]:
    """|W_OV M| / (|W_OV| |M|), by Frobenius norms: from 0 to 1, at random `RANDOM_COMPOSITION`.

    W_OV = W_V W_O takes what a head of layer 1 reads to what it writes. M takes what a head of
    layer 2 reads, for keys or queries, to its scores W_K W_Q^T or W_Q W_K^T of the query with a
    label (mean of the two labels), for values to what it writes, W_V W_O. Definition of
    K-, Q- and V-composition: Elhage et al. 2021.

    Args:
        model: several runs.
        name: one of `INPUTS`.

    Returns:
        In float64; 0 where a head has no weights.

    Raises:
        ValueError: there is no such input.
    """
    check_input(name)
    exact = model.to(torch.float64)
    written = _ov(exact, 1)
    return torch.stack([_share(written, each) for each in _reading(exact, name)]).mean(0)


def check_input(name: str) -> None:
    """Of layer 2.

    Raises:
        ValueError: it is none of `INPUTS`.
    """
    if name not in INPUTS:
        raise ValueError(f"input={name}: layer 2 has none; choose one of {', '.join(INPUTS)}")


def _share(written: Matrices, reading: Matrices) -> Float[Tensor, "run head1 head2"]:
    norm = torch.linalg.matrix_norm
    lengths = norm(written)[:, :, None] * norm(reading)[:, None]
    return norm(written[:, :, None] @ reading[:, None]) / torch.where(lengths > 0, lengths, 1)


def _reading(model: Model, name: str) -> Iterator[Matrices]:
    """M of the heads of layer 2, for each label where it depends on its place."""
    if name == "value":
        yield _ov(model, 2)
        return
    query = _read(model, "q", 2, N_TOKENS - 1)
    for token in LABEL_TOKENS:
        key = _read(model, "k", 2, token)
        one, other = (key, query) if name == "key" else (query, key)
        yield one @ other.mT


def _ov(model: Model, layer: int) -> Matrices:
    out = model.parameters[f"w_o{layer}"].unflatten(1, (HEADS, D_HEAD))
    return _read(model, "v", layer) @ out


def _read(model: Model, name: str, layer: int, token: int | None = None) -> ByHead:
    """Weights behind the gain of the norm, without the mean it takes off, turned to a place."""
    gain = model.parameters[f"gain{layer}"]
    weight = gain[..., None] * model.parameters[f"w_{name}{layer}"]
    weight = weight - weight.mean(1, keepdim=True)
    if token is not None:
        weight = rotated(weight[:, :, None].expand(-1, -1, N_TOKENS, -1), D_HEAD)[:, :, token]
    return weight.unflatten(-1, (HEADS, D_HEAD)).transpose(1, 2)
