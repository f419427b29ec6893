"""What heads cause: ablation, patching, direct and indirect effects, against random heads."""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from universal_response.activations.outputs import Metric, Outputs, outputs
from universal_response.heads.attribution import (
    attribution_patching,
    direct_attribution,
    direct_effects,
)
from universal_response.heads.behaviour import loss
from universal_response.heads.replacing import By, Head, each_replaced, replaced, run
from universal_response.heads.study.material import Material, mean_and_sem
from universal_response.heads.summaries import CLASSES
from universal_response.measurement import numbers

MAP = ("layer", "head")


def attribution(material: Material) -> xr.Dataset:
    """Direct logit attribution: what each component writes along the right logit."""
    of = material.evaluated(material.settings.evaluated_on)
    found = direct_attribution(of, material.model, material.unembedding)
    return xr.Dataset(
        {
            **mean_and_sem("attribution", MAP, found.heads.mean(-1)),
            **mean_and_sem("attribution_mlps", ("layer",), found.mlps.mean(-1)),
            "attribution_embedding": ((), float(found.embedding.mean())),
            "attribution_bias": ((), float(found.biases.mean())),
            "attribution_total": ((), float(found.total.mean())),
        }
    )


def ablation(material: Material) -> xr.Dataset:
    """Change of the logit difference with a head at its mean: in all, directly, to first order."""
    of, means = material.mapped, material.means
    metric = material.logit_difference(of.tokens)
    base = metric(of.normed)
    total = each_replaced(of, material.model, means, metric) - base
    direct = direct_effects(of, material.model, means, material.unembedding, metric) - base
    linear = attribution_patching(of, material.model, means, metric)
    return xr.Dataset(
        {
            **mean_and_sem("ablation_effect", MAP, total),
            **mean_and_sem("direct_effect", MAP, direct),
            **mean_and_sem("ablation_estimate", MAP, linear),
        }
    )


def patching(material: Material) -> xr.Dataset:
    """Activation patching between [R, R] and [R', R], both ways, and its first-order estimate.

    `denoising` puts a head's output of [R, R] into the run of [R', R], `noising` the other way.
    """
    clean = material.patched
    t0, others = (
        material.settings.t0,
        material.means_of[: len(clean.tokens), : material.settings.t0],
    )
    corrupt = outputs(torch.cat([others, clean.tokens[:, t0:]], 1), material.model)
    metric = material.logit_difference(clean.tokens)
    found = {
        "patched_clean": numbers(metric(clean.normed)),
        "patched_corrupt": numbers(metric(corrupt.normed)),
    }
    variables: dict[str, object] = {k: ("patched_sequence", v) for k, v in found.items()}
    for name, of, by in (("denoising", corrupt, clean), ("noising", clean, corrupt)):
        exact = each_replaced(of, material.model, by.z, metric) - metric(of.normed)
        estimate = attribution_patching(of, material.model, by.z, metric)
        variables |= mean_and_sem(name, MAP, exact)
        variables |= mean_and_sem(f"{name}_estimate", MAP, estimate)
    return xr.Dataset(variables)


def class_ablation(material: Material) -> xr.Dataset:
    """Whole classes of heads replaced, by mean, zeros and the mean of unrepeated tokens.

    Beside the logit difference stands the loss of unrepeated tokens, which no induction head can
    lower: what it rises by, a replacement has done to the rest of the model.
    """
    of = material.mapped
    metric = material.logit_difference(of.tokens)
    other = outputs(material.unrepeated(of.tokens), material.model)
    by = {
        "mean": material.means,
        "zero": material.zeros,
        "unrepeated mean": material.unrepeated_means,
    }
    sets = head_sets(material)

    def measured(of: Outputs, metric: Metric) -> np.ndarray:
        def one(heads: list[Head], by: By) -> np.ndarray:
            return numbers(run(of, material.model, replaced(heads, by), metric))

        return np.stack([[one(heads, each) for each in by.values()] for heads in sets.values()])

    dims = ("head_set", "replacement", "mapped_sequence")
    return xr.Dataset(
        {
            "set_logit_difference": (dims, measured(of, metric)),
            "set_loss": (dims, measured(other, _loss_of(material, other.tokens))),
            "set_size": ("head_set", [len(heads) for heads in sets.values()]),
        },
        {"head_set": list(sets), "replacement": list(by)},
    )


def backup(material: Material) -> xr.Dataset:
    """What each head writes more of the right logit with the induction heads of one layer at means.

    A head that gains is a backup of those. The scale of the final norm is that of the whole model.
    """
    induction, of = material.classes["induction"], material.mapped
    whole = direct_attribution(of, material.model, material.unembedding).heads
    gains = whole.new_zeros(len(material.induction_layers), *whole.shape[:3])
    for gain, layer in zip(gains, material.induction_layers, strict=True):
        edits = replaced([head for head in induction if head[0] == layer], material.means)
        without = outputs(of.tokens, material.model, edits)
        found = direct_attribution(without, material.model, material.unembedding, scale_of=of)
        gain += (found.heads - whole).mean(-1)
    return xr.Dataset(
        mean_and_sem("backup_gain", ("ablated_layer", *MAP), gains),
        {"ablated_layer": material.induction_layers},
    )


def head_sets(material: Material) -> dict[str, list[Head]]:
    """No heads, every class of them, and random heads of the layers of induction heads."""
    induction = material.classes["induction"]
    sets: dict[str, list[Head]] = {"none": []} | {name: material.classes[name] for name in CLASSES}
    for layer in material.induction_layers:
        sets[f"induction, layer {layer}"] = [head for head in induction if head[0] == layer]
    generator = np.random.default_rng(material.settings.seed)
    for draw in range(material.settings.draws):
        sets[f"random {draw}"] = material.same_layers(material.classes["induction"], generator)
    return sets


def _loss_of(material: Material, tokens: Tensor) -> Metric:
    def metric(normed: Tensor) -> Tensor:
        return loss(normed, tokens, material.unembedding).mean(1)

    return metric
