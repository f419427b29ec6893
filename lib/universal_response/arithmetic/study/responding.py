"""The response to a change of an operand's digit, beside what such a change does to the answer."""

from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from universal_response.arithmetic.answers import DIGITS, answers, tokens_of
from universal_response.arithmetic.effects import distance
from universal_response.arithmetic.problems import Problems, joined
from universal_response.arithmetic.responding import raised, scaled
from universal_response.arithmetic.study.material import Material, mean_and_sem
from universal_response.measurement import numbers
from universal_response.propagation import forward

# Of both units; those of the first operand are at most 8, so that they can be raised.
SUMS = range(2 * DIGITS - 2)
CHANGED = ("operand, result as before", "operand, result as after", "result alone")


def responses(material: Material) -> xr.Dataset:
    """Response at the places that answer, by the sum of both units: 9 is where a carry is near.

    `scaled_response` is the limit of a scaled vector of each operand's digit in turn, per unit of
    strength; `raised_response` that to units of the first operand raised by one, with the result
    behind them as it was before or as it is after. Both are means of logarithms of C_delta, nan
    where nothing responds. `answer_flips` is how often the digit of largest logit changes then, and
    when the result alone becomes that of the raised problem. `answer_distance` is by how much the
    answer moves when a digit, of operands or of the result before it, becomes another one.
    """
    generator = np.random.default_rng([material.settings.seed, 4])
    parts = [_with_units(material, total, generator) for total in SUMS]
    every = joined(parts)
    sources = [place for place, name in enumerate(material.places) if name[0] in "ab"]
    units = material.places.index("a0")
    variables: dict[str, object] = {}
    logs = _logs(scaled(every, material.model, sources)).transpose(2, 0, 3, 1)
    dims = ("position", "answer", "unit_sum", "problem")
    shape = (len(parts), -1)
    variables |= mean_and_sem(
        "scaled_response", ("source", *dims), logs.reshape(*logs.shape[:-1], *shape)
    )
    behind = [_behind(material, every, step) for step in (0, 1)]
    logs = np.stack([_logs(raised(each, material.model, units)) for each in behind])
    logs = logs.transpose(0, 1, 3, 2)
    variables |= mean_and_sem(
        "raised_response", ("behind", *dims), logs.reshape(*logs.shape[:-1], *shape)
    )
    pairs = [*((each, _raised(each, units)) for each in behind), (behind[0], behind[1])]
    flips = np.stack([_flips(material, *pair) for pair in pairs]).transpose(0, 2, 1)
    variables["answer_flips"] = (
        ("changed", "answer", "unit_sum"),
        flips.reshape(*flips.shape[:-1], *shape).mean(-1),
    )
    changed = [place for place, name in enumerate(material.places) if name[-1].isdecimal()][:-1]
    moved = np.stack([_moved(material, every, place, generator) for place in changed])
    variables |= mean_and_sem("answer_distance", ("changed_digit", "answer", "problem"), moved)
    names = [material.places[place] for place in sources]
    about = {
        "source": names,
        "unit_sum": list(SUMS),
        "behind": ["before", "after"],
        "changed": list(CHANGED),
        "changed_digit": [material.places[place] for place in changed],
    }
    return xr.Dataset(variables, about)


def _logs(values: Tensor) -> np.ndarray:
    return np.log(np.where((values > 0).cpu().numpy(), numbers(values), np.nan))


def _behind(material: Material, problems: Problems, step: int) -> Tensor:
    """Tokens with the result of the problem whose first operand is greater by a step."""
    tokens, n = tokens_of(problems, material.model), problems.digits + 1
    other = replace(problems, first=problems.first + step)
    tokens[:, -n:] = tokens_of(other, material.model)[:, -n:]
    return tokens


def _raised(tokens: Tensor, units: int) -> Tensor:
    other = tokens.clone()
    other[:, units] += 1
    return other


def _flips(material: Material, one: Tensor, other: Tensor) -> np.ndarray:
    """Whether each answer is another one, (problem, answer)."""
    said = [
        answers(forward(each, material.model), each, material.unembedding).logits.argmax(-1)
        for each in (one, other)
    ]
    return (said[0] != said[1]).double().cpu().numpy()


def _with_units(material: Material, total: int, generator: np.random.Generator) -> Problems:
    """Random sums whose units have this sum, and in which no carry makes another one."""
    n, digits = material.settings.perturbed_on, material.trained.digits
    units = generator.integers(max(0, total - 9), min(total, 8) + 1, n)
    first, second = units, total - units
    for place in range(1, digits):
        pairs = np.array([(a, b) for a in range(DIGITS) for b in range(DIGITS) if a + b != 9])
        a, b = pairs[generator.integers(len(pairs), size=n)].T
        first, second = first + a * 10**place, second + b * 10**place
    return Problems(first, second, np.zeros(n, dtype=bool), digits)


def _moved(
    material: Material, problems: Problems, place: int, generator: np.random.Generator
) -> np.ndarray:
    """Distance of answers where a digit becomes another one, the result behind it as it was."""
    tokens = tokens_of(problems, material.model)
    other = tokens.clone()
    step = torch.from_numpy(generator.integers(1, DIGITS, len(tokens)))
    other[:, place] = (tokens[:, place] + step) % DIGITS
    before, after = (
        answers(forward(each, material.model), tokens, material.unembedding)
        for each in (tokens, other)
    )
    return numbers(distance(before, after)).T
