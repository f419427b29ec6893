"""What heads look at: their scores, the same under nulls, and the behaviour of the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import xarray as xr
from transformer_lens.model_bridge import TransformerBridge

from universal_response.heads.behaviour import loss, predictions
from universal_response.heads.lens import logit_lens
from universal_response.heads.scores import SCORES, attention_scores, by_offset
from universal_response.heads.study.material import Material, mean_and_sem
from universal_response.heads.summaries import CLASSES
from universal_response.measurement import numbers
from universal_response.propagation import Seen, forward


def scores(material: Material) -> xr.Dataset:
    """Scores by input and what heads are called by them.

    Beside repeated tokens stand unrepeated ones, and repeated ones in a model whose weights are
    shuffled, each matrix by itself. Prefix matching is measured with a gap between the blocks too,
    another in each sequence: a head that has learned a distance does not find it there.
    """
    found = dict(material.scores)
    with shuffled_weights(material.model, material.settings.seed):
        shuffled = attention_scores(material.chosen_on, material.model)
    found["shuffled weights"] = numbers(shuffled)
    by_sequence = np.moveaxis(np.stack(list(found.values())), 2, -1)
    dims = ("input", "score", "layer", "head")
    gapped = attention_scores(material.gapped(material.chosen_on), material.model)
    prefix = gapped[list(SCORES).index("prefix_matching")].mean(0)
    head_class = np.full(by_sequence.shape[2:-1], "", dtype=object)
    for name in reversed(CLASSES):
        for head in material.classes[name]:
            head_class[head] = name
    return xr.Dataset(
        {
            **mean_and_sem("attention_score", dims, torch.from_numpy(by_sequence)),
            "prefix_matching_gapped": (("layer", "head"), numbers(prefix)),
            "head_class": (("layer", "head"), head_class.astype(str)),
        },
        {"input": list(found), "score": list(SCORES)},
    )


def profiles(material: Material) -> xr.Dataset:
    """Of every head the mean attention of the second block to each token before, by offset."""
    tokens, t0 = material.mapped.tokens, material.settings.t0
    found: list[torch.Tensor] = []

    def profile(seen: Seen) -> None:
        found.append(by_offset(seen.value, t0, t0 + 1).mean(0))

    forward(tokens, material.model, observe={"pattern": profile})
    values = numbers(torch.stack(found))
    return xr.Dataset({"attention_by_offset": (("layer", "head", "offset"), values)})


@contextmanager
def shuffled_weights(model: TransformerBridge, seed: int) -> Iterator[None]:
    """The numbers of every matrix of the blocks in another order, for a while."""
    generator = torch.Generator().manual_seed(seed)
    inner: Any = model.original_model
    outside = {id(each) for each in inner.get_input_embeddings().parameters()}
    mine = [each for each in inner.parameters() if each.ndim > 1 and id(each) not in outside]
    before = [each.data for each in mine]
    try:
        for each in mine:
            order = torch.randperm(each.numel(), generator=generator).to(each.device)
            each.data = each.data.flatten()[order].view(each.shape)
        yield
    finally:
        for each, kept in zip(mine, before, strict=True):
            each.data = kept


def behaviour(material: Material) -> xr.Dataset:
    """Predictions of repeated tokens, and the loss by place with and without repetition."""
    tokens, unembedding = material.evaluated_on, material.unembedding
    normed = forward(tokens, material.model)
    found = predictions(normed, tokens, unembedding, probabilities=True)
    other = material.unrepeated(tokens)
    losses = {
        "repeated": loss(normed, tokens, unembedding),
        "unrepeated": loss(forward(other, material.model), other, unembedding),
    }
    return xr.Dataset(
        {
            "logit_difference": ("sequence", _by_sequence(found.logit_difference)),
            "log_probability": ("sequence", _by_sequence(found.log_probability)),
            "probability": ("sequence", _by_sequence(found.probability)),
            "loss": (
                ("loss_input", "query"),
                np.stack([numbers(each.mean(0)) for each in losses.values()]),
            ),
            "tokens": (("sequence", "token"), tokens.numpy()),
        },
        {"loss_input": list(losses)},
    )


def lens(material: Material) -> xr.Dataset:
    """The logit lens at every position l, by sequence."""
    found = logit_lens(material.mapped, material.unembedding)
    dims = ("position", "mapped_sequence")
    return xr.Dataset(
        {
            "lens_logit_difference": (dims, _by_sequence(found.logit_difference)),
            "lens_log_probability": (dims, _by_sequence(found.log_probability)),
            "lens_probability": (dims, _by_sequence(found.log_probability.exp())),
            "lens_first": (dims, _by_sequence((found.rank == 0).float())),
        }
    )


def _by_sequence(of_queries: torch.Tensor) -> np.ndarray:
    return numbers(of_queries.double().mean(-1))
