"""The response of the places that answer to a change of an operand's digit."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response import metrics
from universal_response.arithmetic.answers import tokens_of
from universal_response.arithmetic.problems import Problems, answer_places
from universal_response.perturbation import Swap
from universal_response.propagation import inner_products, linear_inner_products


def scaled(
    problems: Problems, model: TransformerBridge, sources: list[int]
) -> Float[Tensor, "position problem source answer"]:
    """C_delta per unit of strength in the limit: vectors of some places scaled in turn."""
    tokens = tokens_of(problems, model)
    places = torch.tensor(sources).expand(len(tokens), -1)
    products = linear_inner_products(tokens, model, sources=places)
    return metrics.delta(products)[:, 0, ..., answer_places(tokens.shape[1])]


def raised(
    tokens: Int[Tensor, "problem place"], model: TransformerBridge, source: int
) -> Float[Tensor, "position problem answer"]:
    """C_delta where the digit at a place becomes the next one, carried at strength 1.

    Args:
        tokens: problems with a result, which stays.
        model: a bridge.
        source: the place.

    Raises:
        ValueError: a digit is 9.
    """
    digit = tokens[:, source].numpy()
    if (digit == 9).any():
        raise ValueError("tokens: a digit of 9 has no next one; leave those out")
    found: list[Tensor] = []
    for value in np.unique(digit):
        rows = torch.from_numpy(np.flatnonzero(digit == value))
        products = inner_products(
            tokens[rows],
            model,
            [1.0],
            perturbation=Swap(int(value) + 1),
            sources=torch.full((len(rows), 1), source),
        )
        found.append(metrics.delta(products)[:, 0, :, 0, answer_places(tokens.shape[1])])
    order = np.argsort(digit, kind="stable")  # in which the groups come
    return torch.cat(found, 1)[:, torch.from_numpy(np.argsort(order)).to(found[0].device)]
