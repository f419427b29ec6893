"""Checks of session 4, on a study of heads."""

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from universal_response.companion.exercises.answers import (
    WrongKind,
    call,
    head,
    matches,
    near,
    number,
    pair,
    powers,
    slope,
    word,
)
from universal_response.companion.exercises.session1 import block_length
from universal_response.heads.summaries import CLASSES

# At which heads are called, and from which a circuit is called faithful.
LEVEL = 0.01
FAITHFUL = 0.8


def stripe_score(answer: Any, data: xr.Dataset) -> bool:
    generator = np.random.default_rng(0)
    cases = (((9, 9), 1, 1), ((9, 9), 0, 3), ((3, 12, 12), 5, 6), ((2, 4, 12, 12), 6, 6))
    for shape, offset, first in cases:
        # Neither causal nor normalised, so that no confusion is hidden.
        pattern = generator.random(shape)
        read = [pattern[..., q, q - offset] for q in range(first, shape[-1])]
        expected = np.mean(read, axis=0)
        if not matches(call(answer, pattern, offset, first), expected, rtol=1e-6):
            return False
    return True


def one_token_off(answer: Any, data: xr.Dataset) -> bool:
    t0 = block_length(data)
    places = np.arange(2 * t0)
    offsets = places[:, None] - places
    called = {1: "previous_token", t0: "duplicate_token", t0 - 1: "induction"}
    what = "two pairs, each of a class and a head: (class, (layer, head))"
    right = []
    for given, read in zip(pair(answer, what), (offsets[t0:, :t0], offsets[t0:, 1:]), strict=True):
        name, strongest = pair(given, what)
        if word(name) not in CLASSES:
            raise WrongKind(f"one of the classes {', '.join(CLASSES)}, with a head")
        (offset,) = set(np.diagonal(read).tolist())
        looked = data.attention_by_offset.isel(offset=offset).transpose("layer", "head").values
        # Two heads may do it equally well.
        best = set(zip(*np.nonzero(looked >= 0.99 * looked.max()), strict=True))
        right.append(word(name) == called[offset] and head(strongest) in best)
    return all(right)


def names_by_chance(answer: Any, data: xr.Dataset) -> bool:
    called, expected = pair(answer, "a function and a number, (called, by_chance)")
    by_chance = number(expected)
    p = p_values(data)
    cases = [(np.array(made_up), level) for made_up, level in _MADE_UP_P]
    cases += [(p, LEVEL), (p.ravel(), LEVEL)]
    for values, level in cases:
        found = np.asarray(call(called, values, level))
        if found.dtype != bool or found.shape != values.shape:
            return False
        if (found != _holm(values, level)).any():
            return False
    return near(by_chance, LEVEL * p.size, rtol=1e-3)


# The smallest bound fails one, a larger one would pass; a failure behind which bounds are met; all
# are called; none; two dimensions.
_MADE_UP_P: tuple[tuple[Any, float], ...] = (
    ((0.04, 0.03), 0.05),
    ((0.04, 0.01, 0.03), 0.05),
    ((0.04, 0.02, 0.001, 0.012), 0.05),
    ((0.3, 0.5, 0.2), 0.1),
    (((0.5, 0.002, 0.009), (0.0035, 0.3, 0.8)), 0.02),
)


def p_values(data: xr.Dataset) -> np.ndarray:
    """One-sided, of the induction score of every head against that of unrepeated tokens."""
    score = data.attention_score.sel(score="induction").transpose("input", "layer", "head")
    error = data.attention_score_sem.sel(score="induction").transpose("input", "layer", "head")
    n = int(data.attrs["chosen_on"])
    of_both = [
        each
        for kind in ("repeated", "unrepeated")
        for each in (score.sel(input=kind).values, error.sel(input=kind).values * np.sqrt(n), n)
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        test = stats.ttest_ind_from_stats(*of_both, equal_var=False, alternative="greater")
    # A head that never varies gives 0/0.
    return np.nan_to_num(test.pvalue, nan=1.0)


def _holm(p: np.ndarray, level: float) -> np.ndarray:
    found = np.zeros(p.size, dtype=bool)
    for n_before, place in enumerate(np.argsort(p, axis=None)):
        if p.flat[place] > level / (p.size - n_before):
            break
        found[place] = True
    return found.reshape(p.shape)


def sender_receiver(answer: Any, data: xr.Dataset) -> bool:
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise WrongKind("a sender, a way and a receiver, (sender, through, receiver)")
    sender, through, receiver = answer
    least = data.edge_effect.argmin(...)
    edge = data.edge_effect.isel(least)
    return (
        head(sender) == (int(least["layer"]), int(least["head"]))
        and word(through) == str(edge.through.values)
        and word(receiver) == str(edge.receiver.values)
    )


def indirect_effect(answer: Any, data: xr.Dataset) -> bool:
    claimed, share = pair(answer, "a head and a number, ((layer, head), share)")
    indirect = data.ablation_effect - data.direct_effect
    least = indirect.argmin(...)
    of_total = (indirect / data.ablation_effect).isel(least)
    strongest = (int(least["layer"]), int(least["head"]))
    return head(claimed) == strongest and near(share, float(of_total), rtol=0.02)


def third_part(answer: Any, data: xr.Dataset) -> bool:
    claimed, share = pair(answer, "three powers and a number, (powers, share)")
    predicted = powers(claimed, ("values", "pattern", "both"))
    strengths = np.array([1e-4, 1e-3, 1e-2])
    measured = _parts_of_a_head(strengths)
    for part, power in predicted.items():
        if abs(slope(strengths, measured[part]) - power) > 0.1:
            return False
    t0 = block_length(data)
    shares = data.share_by_part.sel(compared=t0 - 1)
    limit = shares.sel(strength="limit", drop=True).sum("part")
    strongest = shares.isel(limit.where(data.head_class == "induction").argmax(...))
    both = strongest.sel(strength="finite", part="both")
    return near(share, float(both) / 10, rtol=0.02)


def _parts_of_a_head(strengths: np.ndarray) -> dict[str, list[float]]:
    """Lengths of p dv, dp v and dp dv of a made-up query, whose scores and values change."""
    generator = np.random.default_rng(0)
    scores, scores_change = generator.normal(size=(2, 8))
    v, v_change = generator.normal(size=(2, 8, 16))
    p = np.exp(scores) / np.exp(scores).sum()
    found: dict[str, list[float]] = {"values": [], "pattern": [], "both": []}
    for epsilon in strengths:
        moved = np.exp(scores + epsilon * scores_change)
        dp, dv = moved / moved.sum() - p, epsilon * v_change
        for part, z in (("values", p @ dv), ("pattern", dp @ v), ("both", dp @ dv)):
            found[part].append(float(np.linalg.norm(z)))
    return found


def faithfulness(answer: Any, data: xr.Dataset) -> bool:
    function, enough = pair(answer, "a function and a number, (faithfulness, enough)")
    dims = ("ranking", "circuit_size", "mapped_sequence")
    measured = data.circuit_logit_difference.transpose(*dims)
    # One sequence that the whole model predicts hardly better than without heads.
    made_up = xr.DataArray([[1.0, 2, 3], [4.0, 2.5, 3], [9.0, 2.1, 8]], dims=dims[1:])
    made_up = made_up.assign_coords(circuit_size=[0, 3, 7])
    for one in (made_up, *measured):
        mean = one.values.mean(1, dtype=float)
        found = np.asarray(call(function, one))
        expected = (mean - mean[0]) / (mean[-1] - mean[0])
        if found.dtype.kind not in "iuf" or found.shape != expected.shape:
            return False
        if not np.allclose(found, expected, atol=1e-5):
            return False
    mean = measured.sel(ranking="by effect").mean("mapped_sequence").astype(float)
    reached = (mean - mean[0]) / (mean[-1] - mean[0]) >= FAITHFUL
    return number(enough) == int(mean.circuit_size[reached].min())
