"""Neurons where digits of the result are predicted: which suffice, and what they hold."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from universal_response.activations import Outputs, Unembedding
from universal_response.arithmetic.answers import DIGITS, Answers, answers
from universal_response.arithmetic.problems import answer_places
from universal_response.propagation import ReplaceNeurons, forward


def only(
    kept: Int[Tensor, " kept"],
    layer: int,
    of: Outputs,
    means: Float[Tensor, "1 place neuron"],
    model: TransformerBridge,
    unembedding: Unembedding,
) -> Answers:
    """Answers where a layer has only some of its neurons there, all others at their mean."""
    left_out = np.setdiff1d(np.arange(means.shape[-1]), kept.cpu().numpy())
    places = answer_places(of.tokens.shape[1])
    edits = [
        ReplaceNeurons(
            layer, left_out.tolist(), means[..., left_out], range(places.start, places.stop)
        )
    ]
    normed = forward(of.tokens, model, edits=edits, start=of.start(layer))
    return answers(normed, of.tokens, unembedding)


def keys(
    activation: Float[np.ndarray, "problem neuron"],
    first: Int[np.ndarray, " problem"],
    second: Int[np.ndarray, " problem"],
) -> Float[np.ndarray, "neuron first second"]:
    """Mean activation by both digits; nan where there is no such problem."""
    cell = first * DIGITS + second
    number = np.bincount(cell, minlength=DIGITS**2)
    with np.errstate(invalid="ignore"):
        means = [
            np.bincount(cell, weights=mine, minlength=DIGITS**2) / number for mine in activation.T
        ]
    return np.stack(means).reshape(-1, DIGITS, DIGITS)


def explained(
    values: Float[np.ndarray, "problem neuron"], group: Int[np.ndarray, " problem"]
) -> Float[np.ndarray, " neuron"]:
    """Part of the variance over problems that lies between groups."""
    number = np.bincount(group)
    sums = np.stack([np.bincount(group, weights=mine) for mine in values.T], 1)
    there = number > 0
    means = sums[there] / number[there, None]
    between = (number[there, None] * (means - values.mean(0)) ** 2).sum(0)
    whole = ((values - values.mean(0)) ** 2).sum(0)
    return np.divide(between, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def promoted(
    model: TransformerBridge, layer: int, neurons: Sequence[int], unembedding: Unembedding
) -> Float[Tensor, "neuron digit"]:
    """What a unit of each neuron's activation adds to the logits of the digits, less their mean.

    Before the final norm's scale, which is another one for every problem.
    """
    columns = model.blocks[layer].mlp.out.weight.detach()[:, list(neurons)].T
    rows = unembedding.weight[:DIGITS].to(columns)
    return unembedding.norm.behind(columns) @ (rows - rows.mean(0)).T * unembedding.multiplier
