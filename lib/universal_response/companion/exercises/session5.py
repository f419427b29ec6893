"""Checks of session 5, on a study of training."""

from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import xarray as xr

from universal_response.companion.exercises.answers import (
    WrongKind,
    call,
    matches,
    near,
    pair,
    powers,
    slope,
    word,
)
from universal_response.training.clamps import CLAMPS
from universal_response.training.settings import Run
from universal_response.training.summaries import (
    CLASSES,
    COPYING,
    FULL,
    LABELS,
    LEARNED,
    MATCHING,
    RESPONSES,
    first_below,
    half_points,
    learned,
    plateau,
    runs_of,
    training_loss,
)
from universal_response.training.task import LABEL_TOKENS, Task

LEADS, FOLLOWS, LATER, EARLIER, UNRESOLVED = (
    "leads", "follows", "later", "earlier", "not resolved",
)  # fmt: skip
# How many trainings a comparison needs, and how many of them must have learned.
TRAINED, COMPARED = 3, 2


def earlier(data: xr.Dataset, first: str, second: str) -> bool:
    """Whether every run of one experiment learns before any of another.

    A run that has not learned would have done so after its end, if at all.
    """
    ends = runs_of(data, second).sequences.max("time")
    others = np.minimum(learned(data, second).values, ends.values)
    return bool(learned(data, first).values.max() < others.min())


def one_of(answer: Any, words: tuple[str, ...]) -> str:
    found = word(answer)
    if found not in words:
        raise WrongKind("one of " + ", ".join(f'"{each}"' for each in words))
    return found


def two_labels(answer: Any, data: xr.Dataset) -> bool:
    what = "two pairs of a loss and an accuracy, (nothing, two)"
    sequences = Task().split("training")
    drawn = sequences.sequences(torch.arange(sequences.count))
    n_labels = Task().labels
    nothing = torch.full((len(drawn.target), n_labels), 1 / n_labels)
    two = F.one_hot(drawn.labels, n_labels).float().mean(1)
    for given, probabilities in zip(pair(answer, what), (nothing, two), strict=True):
        loss, accuracy = pair(given, what)
        of_right = probabilities.gather(1, drawn.target[:, None])
        if not near(loss, float(-of_right.log().mean()), rtol=0.01):
            return False
        if not near(accuracy, float(of_right.mean()), rtol=0.01):
            return False
    return True


def induction_strength(answer: Any, data: xr.Dataset) -> bool:
    generator = np.random.default_rng(0)
    for n, heads in ((7, 3), (1, 2), (20, 8)):
        # Neither causal nor normalised, so that no confusion is hidden.
        pattern = generator.random((n, heads, 5, 5))
        asked = generator.integers(2, size=n)
        by_sequence = [
            each[:, -1, LABEL_TOKENS[right]] - each[:, -1, LABEL_TOKENS[1 - right]]
            for each, right in zip(pattern, asked, strict=True)
        ]
        expected = np.mean(by_sequence, axis=0)
        if not matches(call(answer, pattern, asked), expected, rtol=1e-6):
            return False
    return True


def waiting_time(answer: Any, data: xr.Dataset) -> bool:
    function, height = pair(answer, "a function and a number, (wait, height)")
    cases = [(np.array(loss), np.array(when)) for loss, when in _MADE_UP_CURVES]
    runs = runs_of(data, FULL)
    for run in range(runs.sizes["run"]):
        cases.append((training_loss(data, FULL)[run].values, runs.sequences[run].values))
    for loss, when in cases:
        for level in (LEARNED, 0.6, -1.0):
            expected = first_below(_one_run(loss), level, _one_run(when))
            if not _same_time(call(function, loss, level, when), float(expected[0])):
                return False
    heights = plateau(data, FULL).dropna("run")
    return bool(heights.size) and near(height, float(heights[0]), atol=2e-3)


# Below from the start; below, above and below again; uneven steps; on the level; never.
_MADE_UP_CURVES: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = (
    ((0.3, 0.2, 0.1), (500.0, 800.0, 1600.0)),
    ((1.4, 0.7, 0.3, 0.7, 0.2), (0.0, 100.0, 200.0, 300.0, 400.0)),
    ((1.0, 0.65, 0.34, 0.01), (0.0, 30.0, 100.0, 1000.0)),
    ((0.9, 0.6, 0.35, 0.0), (0.0, 1.0, 2.0, 3.0)),
    ((1.6, 0.7, 0.7), (0.0, 10.0, 20.0)),
)


def _one_run(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values[None], dims=("run", "time"))


def _same_time(found: Any, expected: float) -> bool:
    try:
        time = float(found)
    except (TypeError, ValueError):
        raise WrongKind("a function that returns a number, np.inf for never") from None
    return bool(np.isclose(time, expected, rtol=1e-6, atol=0))


def what_shortens(answer: Any, data: xr.Dataset) -> bool:
    what = "all six names, the longest wait first, and what train returned last, (order, curves)"
    order, curves = pair(answer, what)
    if not isinstance(order, tuple | list) or set(map(word, order)) != set(CLAMPS):
        raise WrongKind(what)
    if not isinstance(curves, xr.Dataset) or not {"loss", "sequences"} <= set(curves.variables):
        raise WrongKind(what)
    ranked = [word(name) for name in order]
    wrong = [each for each in combinations(ranked, 2) if earlier(data, *each)]
    return len(ranked) == len(CLAMPS) and not wrong and _compares(curves)


def _compares(curves: xr.Dataset) -> bool:
    """Enough different clamps, on the same weights and data, long enough."""
    seeds = curves.seed.values.tolist()
    if len(seeds) < TRAINED or len(set(seeds)) > 1:
        return False
    if not any(_described(names, seeds[0]) == curves.attrs["runs"]
               for names in permutations(CLAMPS, len(seeds))):  # fmt: skip
        return False
    loss = curves.loss.sel(split="training").transpose("run", "sequences")
    return int((loss < LEARNED).any("sequences").sum()) >= COMPARED


def _described(names: tuple[str, ...], seed: int) -> str:
    """As curves tell which runs they are of."""
    return repr(tuple(Run(seed=seed, clamps=CLAMPS[name]) for name in names))


def three_factors(answer: Any, data: xr.Dataset) -> bool:
    step, claimed = pair(answer, "a function and three powers, (step, powers)")
    predicted = powers(claimed, ("none", "c", "b and c"))
    generator = np.random.default_rng(0)
    for d, rate in ((5, 1.0), (3, 0.2), (8, 30.0)):
        vectors, true = generator.normal(size=(2, 3, d))
        expected = vectors - rate * _gradient(vectors, true)
        if not matches(call(step, vectors.copy(), true.copy(), rate), expected, rtol=1e-6):
            return False
    return all(
        abs(slope(_SMALL, _pushes(given)) - power) < 0.1 for given, power in predicted.items()
    )


_SMALL = np.array([1e-4, 1e-3, 1e-2])


def _pushes(given: str) -> list[float]:
    """Length of the gradient of the first vector, where those not given are small."""
    first, true = np.random.default_rng(1).normal(size=(2, 3, 6))
    free = np.array([name not in given.split(" and ") for name in "abc"])[:, None]
    return [
        float(np.linalg.norm(_gradient(np.where(free, size * first, true), true)[0]))
        for size in _SMALL
    ]


def _gradient(vectors: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of half the mean square of the error, from all its numbers."""
    error = np.einsum("i,j,k", *vectors) - np.einsum("i,j,k", *true)
    a, b, c = vectors
    found = (
        np.einsum("ijk,j,k->i", error, b, c),
        np.einsum("ijk,i,k->j", error, a, c),
        np.einsum("ijk,i,j->k", error, a, b),
    )
    return np.stack(found) / error.size


def lead_or_follow(answer: Any, data: xr.Dataset) -> bool:
    found, said = pair(answer, "a number for every seed and a word, (ratios, said)")
    verdict = one_of(said, (LEADS, FOLLOWS, UNRESOLVED))
    half = half_points(data, RESPONSES)
    ratios = (half.contrast / half.strength).values
    if not matches(found, ratios, rtol=0.01):
        return False
    after, before = (ratios > 1).all(), (ratios < 1).all()
    return verdict == (FOLLOWS if after else LEADS if before else UNRESOLVED)


def which_subcircuit(answer: Any, data: xr.Dataset) -> bool:
    more = {"labels": LABELS, "classes": CLASSES}
    left = {"matching": MATCHING, "copying": COPYING}
    what = "a dict of labels and classes, each a dict of matching and copying"
    claimed = _entries(answer, more, what)
    right = []
    for name, of_name in more.items():
        words = _entries(claimed[name], left, what)
        for subcircuit, clamp in left.items():
            usual, other = clamp, f"{clamp}, {of_name}"
            found = (
                LATER if earlier(data, usual, other)
                else EARLIER if earlier(data, other, usual)
                else UNRESOLVED
            )  # fmt: skip
            right.append(one_of(words[subcircuit], (LATER, EARLIER, UNRESOLVED)) == found)
    return all(right)


def _entries(answer: Any, names: dict[str, str], what: str) -> dict[str, Any]:
    if not isinstance(answer, dict) or answer.keys() != names.keys():
        raise WrongKind(what)
    return answer
