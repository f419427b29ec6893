"""Where a token stands, as attention sees it: the matrices that rotate queries and keys."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.propagation import read


def rotations(
    model: TransformerBridge, layer: int, at: Int[Tensor, " place"]
) -> Float[Tensor, "place d_head d_head"]:
    """R(n) of every place n: a key k there is compared as k R(n); the unit matrix without rotation.

    A query n tokens after a key then has the score q R(n) k. Read off the model: the same states at
    place 0, where nothing is rotated, and at n.

    Args:
        model: a bridge.
        layer: the block.
        at: places in the sequence.
    """
    width = model.cfg.d_head
    generator = torch.Generator().manual_seed(0)
    parameter = next(model.original_model.parameters())
    # More than needed: least squares average the rounding.
    states = torch.randn((2 * width, model.cfg.d_model), generator=generator).to(parameter)
    places = torch.cat([torch.zeros(1, dtype=torch.long), at.cpu()]).repeat_interleave(len(states))
    _, keys, _ = read(model, layer, states.repeat(1 + len(at), 1), places)
    keys = keys.double().unflatten(0, (1 + len(at), -1)).flatten(1, 2).cpu()
    # k R - k = k (R - 1): where no key has a component nothing is rotated.
    turned = torch.linalg.pinv(keys[0]) @ (keys[1:] - keys[:1])
    return turned + torch.eye(width, dtype=keys.dtype)
