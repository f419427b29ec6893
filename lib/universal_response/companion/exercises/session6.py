"""Checks of session 6, on studies of models that add."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import xarray as xr

from universal_response.arithmetic.problems import Problems, answer_places, is_cascade, places
from universal_response.arithmetic.summaries import BY_EFFECT, separation, unlikely_fails
from universal_response.companion.exercises.answers import (
    WrongKind,
    call,
    matches,
    near,
    number,
    pair,
    word,
)
from universal_response.models import load_model

CALCULATION, ANSWER, NEITHER = "calculation", "answer", "neither"
# A share above which a patch is said to do something.
HALF = 0.5
UNITS, TENS = 0, 1


def cascade(answer: Any, data: xr.Dataset) -> bool:
    first, second = np.indices((100, 100))
    for a, b in ((first, second), (first.ravel(), second.ravel()), (first[:, 7], second[:, 7])):
        found = np.asarray(call(answer, a.copy(), b.copy()))
        if found.dtype != bool:
            raise WrongKind("a function that returns a Boolean array")
        asked = Problems(a.ravel(), b.ravel(), np.zeros(a.size, dtype=bool))
        if found.shape != a.shape or (found.ravel() != is_cascade(asked)).any():
            return False
    return True


def two_effects(answer: Any, data: xr.Dataset) -> bool:
    what = "a function and a number, (effects, powers)"
    function, powers = pair(answer, what)
    claimed = number(powers)
    generator = np.random.default_rng(0)
    for shape in ((2,), (7, 2), (3, 4, 2)):
        before, after = np.exp(-generator.exponential(5, size=(2, *shape)))
        found = pair(call(function, before, after), "a function that returns two arrays")
        p_r, p_donor = before[..., 0], before[..., 1]
        new_r, new_donor = after[..., 0], after[..., 1]
        formula = ((new_donor - p_donor) / p_donor + (p_r - new_r) / new_r) / 2
        logarithmic = np.log(new_donor / p_donor * p_r / new_r) / 2
        for mine, expected in zip(found, (formula, logarithmic), strict=True):
            if not matches(mine, expected, rtol=1e-6):
                return False
    of = data.sel(operation="sums").isel(answer=TENS)
    strongest = of.isel(abs(of.logit_effect).argmax(...))
    apart = np.log10(abs(strongest.indirect_effect / strongest.indirect_effect_median))
    return near(claimed, float(apart), atol=0.06)


def smallest_circuit(answer: Any, data: xr.Dataset) -> bool:
    what = "two lists, a number for each digit of the result: (sizes, random)"
    claimed = [_numbers(each, data.sizes["answer"], what) for each in pair(answer, what)]
    right = data.circuit_accuracy.sel(ranking=BY_EFFECT, drop=True)
    enough = right >= data.attrs["faithful"] * right.isel(circuit_size=-1)
    sizes = data.circuit_size.where(enough).min("circuit_size").astype(int)
    others = data.circuit_accuracy.sel(ranking=data.ranking != BY_EFFECT)
    best = others.sel(circuit_size=sizes).max("ranking")
    return bool((claimed[0] == sizes.values).all() and np.allclose(claimed[1], best, atol=2e-3))


def _numbers(answer: Any, n: int, what: str) -> np.ndarray:
    try:
        found = np.asarray(answer)
    except Exception:
        raise WrongKind(what) from None
    if found.dtype.kind not in "iuf" or found.shape != (n,):
        raise WrongKind(what)
    return found


def who_writes(answer: Any, data: xr.Dataset) -> bool:
    what = "a share for each part and the name of one, (shares, writer)"
    given, name = pair(answer, what)
    claimed, writer = _numbers(given, data.sizes["part"], what), word(name)
    of = data.written.sel(followed="right").isel(answer=UNITS)
    shares = of / of.sum("part")
    most = str(data.part.values[int(shares.argmax("part"))])
    return writer == most and bool(np.allclose(claimed, shares, atol=2e-3))


def less_likely(answer: Any, data: xr.Dataset) -> bool:
    function, chance = pair(answer, "a function and a number, (less_likely, chance)")
    claimed = number(chance)
    cases = [(np.array(likelihood), np.array(failed)) for likelihood, failed in _MADE_UP]
    generator = np.random.default_rng(0)
    for n, values in ((30, 4), (200, 1000)):
        failed = generator.permutation(np.arange(n) < n / 3)
        cases.append((-generator.integers(values, size=n).astype(float), failed))
    for likelihood, failed in cases:
        found = call(function, likelihood.copy(), failed.copy())
        if not near(found, separation(-likelihood, failed), atol=1e-6):
            return False
    # nan, and so false, where nothing fails.
    return near(claimed, unlikely_fails(data), atol=3e-3)


# In perfect order, in reverse, all equal; one tie.
_MADE_UP: tuple[tuple[tuple[float, ...], tuple[bool, ...]], ...] = (
    ((-9.0, -8.0, -7.0, -6.0), (True, True, False, False)),
    ((-6.0, -9.0), (True, False)),
    ((-7.0, -7.0, -7.0), (False, True, False)),
    ((-7.0, -8.0, -7.0), (False, False, True)),
)


def what_is_restored(answer: Any, data: xr.Dataset) -> bool:
    what = "a row, two shares and a word, (row, (right, donors), verdict)"
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise WrongKind(what)
    row, (right, donors) = word(answer[0]), pair(answer[1], what)
    shares, verdict = (number(right), number(donors)), word(answer[2])
    if row not in data.rescue.values:
        raise WrongKind("the name of a row, with two shares and a word")
    if verdict not in (CALCULATION, ANSWER, NEITHER):
        raise WrongKind(f'"{CALCULATION}", "{ANSWER}" or "{NEITHER}", with a row and two shares')
    # Where the digit of the donor is the right one, the same problems give both.
    differ = abs(data.rescued - data.as_donor).max("failing") > 0
    if not bool(differ.sel(rescue=row)):
        return False
    found = [float(each.sel(rescue=row).mean()) for each in (data.rescued, data.as_donor)]
    said = CALCULATION if found[0] > HALF else ANSWER if found[1] > HALF else NEITHER
    return verdict == said and all(map(_near_share, shares, found))


def _near_share(claimed: float, found: float) -> bool:
    return near(claimed, found, atol=6e-3)


def read_carry(answer: Any, data: xr.Dataset) -> bool:
    written, operand = pair(answer, "two shares, (written, operand)")
    claimed = number(written), number(operand)
    model = str(data.attrs["model"]), str(data.attrs["weights_sha256"])
    return all(map(_near_share, claimed, _tens_change(*model)))


@lru_cache(maxsize=4)
def _tens_change(name: str, weights: str) -> tuple[float, float]:
    """How often the tens become another digit: with the written units, with an operand's.

    Args:
        name: of the model.
        weights: their hash, which tells models of one name apart.
    """
    model = load_model(name, device="cpu", tokenizer=False)
    first, second = (each.ravel() for each in np.indices((100, 100)))
    tens, units = first // 10 + second // 10, first % 10 + second % 10
    asked = (units == 9) & (tens != 9) & (first % 10 < 9)
    sums = Problems(first[asked], second[asked], np.zeros(int(asked.sum()), dtype=bool))
    tokens = torch.from_numpy(sums.tokens())
    # Of the problem in which the operand is greater by one.
    following = Problems(sums.first + 1, sums.second, sums.minus).tokens()
    names, at = places(), answer_places(tokens.shape[1]).start + TENS
    said = []
    for changed in (None, "r0", "a0"):
        run = tokens.clone()
        if changed:
            place = names.index(changed)
            run[:, place] = torch.from_numpy(following[:, place])
        with torch.no_grad():
            said.append(model(run)[:, at, :10].argmax(-1))
    written, operand = (float((each != said[0]).double().mean()) for each in said[1:])
    return written, operand
