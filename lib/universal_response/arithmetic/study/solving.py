"""How often a model is right, and how likely it finds what is asked."""

import numpy as np
import torch
import xarray as xr

from universal_response.arithmetic.likelihood import (
    FORMS,
    log_likelihood,
    true_differences,
    unseen_form,
)
from universal_response.arithmetic.problems import Problems
from universal_response.arithmetic.study.material import Material
from universal_response.measurement import numbers

PARTS = ("training", "held_out", "withheld")


def accuracy(material: Material) -> xr.Dataset:
    """Share of problems whose digits are right, by part of the split; nan where a part is empty."""
    n = material.trained.digits + 1
    right, whole, number = np.full((len(PARTS), n), np.nan), np.full(len(PARTS), np.nan), []
    for k, name in enumerate(PARTS):
        problems = getattr(material.split, name)
        number.append(len(problems))
        if len(problems):
            found = material.is_right(problems)
            right[k], whole[k] = found.mean(0), found.all(1).mean()
    return xr.Dataset(
        {
            "digit_accuracy": (("part_of_split", "answer"), right),
            "accuracy": ("part_of_split", whole),
            "problems": ("part_of_split", number),
        },
        {"part_of_split": list(PARTS)},
    )


def likelihood(material: Material) -> xr.Dataset:
    """Log likelihood of what is asked, and whether it is solved, of each kind and unseen form.

    Of a kind of which there are fewer problems than are kept the rest is nan.
    """
    generator = np.random.default_rng([material.settings.seed, 1])
    size = material.settings.likely_of
    kinds = {
        **{name: getattr(material.split, name) for name in PARTS},
        **dict.fromkeys(FORMS[:2], material.known),
        FORMS[2]: true_differences(material.trained.digits),
    }
    shape = (len(kinds), size)
    likely, solved = np.full(shape, np.nan), np.full(shape, np.nan)
    for k, (name, problems) in enumerate(kinds.items()):
        chosen = _some(problems, size, generator)
        if len(chosen):
            likely[k, : len(chosen)], solved[k, : len(chosen)] = _asked(material, name, chosen)
    dims = ("kind_of_problem", "asked")
    return xr.Dataset(
        {"log_likelihood": (dims, likely), "solved": (dims, solved)},
        {"kind_of_problem": list(kinds)},
    )


def _some(problems: Problems, size: int, generator: np.random.Generator) -> Problems:
    return problems[np.sort(generator.permutation(len(problems))[:size])]


def _asked(material: Material, kind: str, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood of what is asked, and whether the result is right, of every problem."""
    tokens = torch.from_numpy(unseen_form(kind, problems) if kind in FORMS else problems.tokens())
    likely = log_likelihood(tokens, material.model, material.unembedding)
    return numbers(likely), np.asarray(material.right_behind(tokens).all(1))
