"""A study of training made up to keep each claim about learning, with answers known by hand."""

import numpy as np
import xarray as xr
from universal_response.training import summaries

SEEDS, HEADS, SPLITS = (0, 1, 2), 8, ("training", "unseen", "relabelled")
# When the loss of the first seed is at .35, in sequences; later seeds take 2 % longer each.
LEARNED = {
    "full": 300_000, "responses": 300_000, "L1 + copy": 20_000, "copy": 40_000, "match": 30_000,
    "L1": 80_000, "PT": 200_000, "none": 350_000, "all PT": 500_000, "grafted": 50_000,
    "10 labels": 900_000, "L1 + copy, 10 labels": 20_000, "match, 10 labels": 90_000,
    "100 classes": 400_000, "L1 + copy, 100 classes": 30_000, "match, 100 classes": 30_000,
    "single heads": 400_000,
}  # fmt: skip
LATER = 1.02
TIMES = 81
STRENGTH = np.array([0.9, 0.8, 0.7, 0.55, 0.3, 0.2, 0.1, 0.05])
S_END, LAG = 0.4, 1.1


def learned(name):
    """Of every run, as it was made."""
    seeds = np.zeros(HEADS) if name == "single heads" else np.arange(len(SEEDS))
    return LEARNED[name] * LATER**seeds


def curves(when, end):
    """Loss: ln 2 up to 9/10 of `end`, on a line through .35 there, to .01; two numbers on it."""
    start, level = 0.9 * end, 0.35
    slope = (summaries.LN2 - level) / (end - start)
    return np.clip(summaries.LN2 - slope * (when - start), 0.01, summaries.LN2)


def risen(when, half, width=0.05):
    """From 0 to 1 around a time."""
    return 1 / (1 + np.exp(-(when - half) / (width * half)))


def study():
    """A study that keeps every claim."""
    parts = [_runs(name) for name in LEARNED]
    found = xr.concat(parts, "run", data_vars="all")
    return xr.merge([found, _trained(), _toy()]).assign_attrs(
        kind="training", seeds=" ".join(map(str, SEEDS)), evaluated_on=512
    )


def _runs(name):
    ends = learned(name)
    n = len(ends)
    when = np.tile(np.linspace(0, 2 * LEARNED[name], TIMES), (n, 1))
    loss = curves(when, ends[:, None])
    strength = STRENGTH * risen(when, ends[:, None])[..., None]
    contrast = S_END * risen(when, LAG * ends[:, None], 0.02)
    accuracy = 0.5 + 0.499 * risen(when, ends[:, None])
    response = np.stack([1 + contrast, 1 - contrast], -1)
    if name != "responses":
        response *= np.nan
    return xr.Dataset(
        {
            "sequences": (("run", "time"), when),
            "loss": (("run", "time", "split"), np.repeat(loss[..., None], 3, -1)),
            "accuracy": (("run", "time", "split"), np.repeat(accuracy[..., None], 3, -1)),
            "induction_strength": (("run", "time", "head"), strength),
            "previous_token": (("run", "time", "head"), strength[..., ::-1]),
            "response": (("run", "time", "label"), response),
        },
        {
            "experiment": ("run", [name] * n),
            "seed": ("run", list(SEEDS) if n == len(SEEDS) else [0] * n),
            "active_head": ("run", np.arange(HEADS) if n == HEADS else np.full(n, -1)),
            "split": list(SPLITS),
            "label": ["correct", "wrong"],
        },
    )  # fmt: skip


def _trained():
    """Of every seed the same."""
    n = np.arange(1, HEADS + 1)
    numbers = {
        "strength": ("head", STRENGTH),
        "keep_one_accuracy": ("head", 0.5 + 0.5 * STRENGTH),
        "drop_one_accuracy": ("head", 0.999 - 0.01 * STRENGTH),
        "added_back_loss": ("n_heads", 1 / n),
        "swept_difference": ("set_strength", 5 * np.linspace(-1, 1, 21)),
        "whole_accuracy": ((), 0.999),
        "without_path_accuracy": ((), 0.998),
        "previous_ablated_accuracy": (
            ("preserved", "ablated"), [[0.99, 0.4, 0.9], [0.6, 0.98, 0.97]],
        ),
        # Two heads of layer 1 give keys as much, a third half of it and less.
        "gained_with": (
            ("input", "first_head", "head"),
            np.array([1, 0.45, 1])[:, None, None]
            * np.array([0.6, 0.5, 0.2, 0, 0, 0, 0, 0])[:, None]
            * np.ones(HEADS),
        ),
        "leak": ((), 2e-7),
    }  # fmt: skip
    found = {name: xr.DataArray(value, dims=dims) for name, (dims, value) in numbers.items()}
    return (
        xr.Dataset(found)
        .expand_dims(trained=list(SEEDS))
        .assign_coords(
            n_heads=n, set_strength=np.linspace(-1, 1, 21), preserved=["pattern", "value"],
            ablated=["previous", "others", "random"], input=["query", "key", "value"],
        )
    )  # fmt: skip


def _toy():
    step = np.arange(301)
    ends = {"none": 200.0, "c": 80.0, "b and c": 10.0}
    loss = np.stack([[np.where(step < end, 1, 0.1)] * len(SEEDS) for end in ends.values()])
    return xr.Dataset(
        {
            "toy_loss": (("given", "trained", "step"), loss),
            "toy_end": (("given", "trained"), np.repeat(np.array([*ends.values()])[:, None], 3, 1)),
        },
        {"given": list(ends), "trained": list(SEEDS), "step": step},
    )
