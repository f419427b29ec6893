"""What studies of models that add say, in a few numbers. Pure functions of their Datasets."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import rankdata, spearmanr

from universal_response.response import mean_and_error

BY_EFFECT = "by effect"


def size_of_effect(study: xr.Dataset) -> xr.DataArray:
    """Mean size of the effect of every node on the logits, over digits and operations.

    Returns:
        (layer, component, place).
    """
    return abs(study.logit_effect).mean(("operation", "answer"))


def random_circuits(study: xr.Dataset, name: str = "circuit_accuracy") -> xr.Dataset:
    """Random circuits by size: `mean`, `low` and `high` over draws, (answer, circuit_size)."""
    drawn = study[name].sel(ranking=study.ranking != BY_EFFECT)
    return xr.Dataset(
        {"mean": drawn.mean("ranking"), "low": drawn.min("ranking"), "high": drawn.max("ranking")}
    )


def at_circuit(study: xr.Dataset, name: str = "circuit_accuracy") -> xr.Dataset:
    """Of the circuit of every digit, and of the best random one of its size: (answer,)."""
    rows = [
        study[name].isel(answer=k).sel(circuit_size=int(n))
        for k, n in enumerate(study.circuit_nodes.values)
    ]
    of = xr.concat(rows, "answer")
    random = of.sel(ranking=of.ranking != BY_EFFECT).max("ranking")
    return xr.Dataset({"circuit": of.sel(ranking=BY_EFFECT, drop=True), "random": random})


def formula_against_logits(study: xr.Dataset) -> float:
    """Rank correlation of the size of the indirect effect by its formula and of logarithms."""
    formula, logit = (abs(study[n]).values.ravel() for n in ("indirect_effect", "logit_effect"))
    known = np.isfinite(formula) & np.isfinite(logit)
    return float(spearmanr(formula[known], logit[known]).statistic)


def shared_neurons(study: xr.Dataset, layer: int, n: int) -> float:
    """Part of the n neurons of largest effect on sums that are among those for differences."""
    order = study.neuron_order.isel(layer=layer, rank=slice(n)).values
    return len(set(order[0]) & set(order[1])) / n


def neurons_needed(study: xr.Dataset, layer: int, part: float = 0.9) -> xr.DataArray:
    """The smallest number kept at which the right ranking gives this part of the answers.

    Returns:
        (operation,); nan where no number does.
    """
    found = []
    for operation in study.operation.values:
        right = study.neuron_accuracy.isel(layer=layer).sel(
            ranked_on=operation, operation=operation
        )
        enough = study.kept.where(right >= part)
        found.append(float(enough.min()))
    return xr.DataArray(found, dims="operation", coords={"operation": study.operation})


def likely(study: xr.Dataset) -> xr.Dataset:
    """Log likelihood of what is asked, by kind of problem: `mean`, `error`; `solved` part; `n`."""
    found = mean_and_error(study.log_likelihood, "asked")
    return found.assign(solved=study.solved.mean("asked"), n=study.solved.notnull().sum("asked"))


def separation(score: Float[np.ndarray, " problem"], positive: np.ndarray) -> float:
    """Probability that a positive has a larger score than a negative one, ties by half (AUC).

    Returns:
        nan if one of both kinds is missing.
    """
    n = int(positive.sum())
    others = len(positive) - n
    if not n or not others:
        return float("nan")
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * others))


def unlikely_kind(study: xr.Dataset, kind: str = "withheld") -> float:
    """Probability that a problem of a kind is less likely than one held out of the known kinds."""
    held_out, of_kind = (_known(study, each) for each in ("held_out", kind))
    score = -np.concatenate([held_out[0], of_kind[0]])
    return separation(score, np.arange(len(score)) >= len(held_out[0]))


def unlikely_fails(study: xr.Dataset, kinds: Sequence[str] = ("withheld",)) -> float:
    """Probability that a problem that fails is less likely than one that is solved.

    Args:
        study: of `study_arithmetic`.
        kinds: of the problems that are compared.
    """
    likelihood, solved = np.concatenate([_known(study, kind) for kind in kinds], axis=1)
    return separation(-likelihood, solved == 0)


def _known(study: xr.Dataset, kind: str) -> np.ndarray:
    """Log likelihood and whether solved, (2, problem)."""
    both = [study[n].sel(kind_of_problem=kind).values for n in ("log_likelihood", "solved")]
    values = np.stack(both)
    return values[:, np.isfinite(values[0])]


def rescued(study: xr.Dataset) -> xr.Dataset:
    """Part of the failing problems that are right, and that give the donor's digit, by row.

    `error` is the standard error over failing problems.
    """
    found = mean_and_error(study.rescued, "failing")
    about = {
        "as_donor": study.as_donor.mean("failing"),
        "n": study.rescued.notnull().sum("failing"),
    }
    return found.assign(about)


def response_and_distance(study: xr.Dataset) -> xr.Dataset:
    """By operand digit and answer: the response at l = 2L in the limit, and how the answer moves.

    Returns:
        `response`, geometric mean of C_delta over sums of both units, and `distance`.
    """
    last = np.exp(study.scaled_response.isel(position=-1).mean("unit_sum"))
    distance = study.answer_distance.sel(changed_digit=study.source.values)
    return xr.Dataset({"response": last, "distance": distance.rename(changed_digit="source")})


def response_follows_answer(study: xr.Dataset) -> float:
    """Rank correlation of both over operand digits and answers."""
    found = response_and_distance(study)
    return float(spearmanr(found.response.values.ravel(), found.distance.values.ravel()).statistic)


def effect_at_operands(study: xr.Dataset) -> xr.DataArray:
    """Size of the effects of all nodes at an operand digit's own place, sums: (source, answer)."""
    size = abs(study.logit_effect.sel(operation="sums")).sum(("layer", "component"))
    return size.sel(place=study.source.values).rename(place="source").transpose("source", "answer")


def response_follows_nodes(study: xr.Dataset) -> float:
    """Rank correlation of the response with these effects, over operand digits and answers."""
    response = response_and_distance(study).response.transpose("source", "answer")
    effects = effect_at_operands(study)
    return float(spearmanr(response.values.ravel(), effects.values.ravel()).statistic)


def at_carry(study: xr.Dataset, answer: int, behind: str = "before") -> float:
    """Response at l = 2L to raised units where that makes a carry, over its mean elsewhere."""
    of = study.raised_response.isel(position=-1, answer=answer).sel(behind=behind)
    there = of.unit_sum == 9
    return float(np.exp(of.sel(unit_sum=9) - of.where(~there).mean("unit_sum")))


def probe_gain(study: xr.Dataset) -> xr.DataArray:
    """Accuracy of probes above that of shuffled ones, over what there is to gain; from 0.

    That of shuffled ones is their mean over places and l: where states form a few clusters a single
    one may be right by luck.

    Returns:
        (label, position, place_read).
    """
    chance = study.probe_shuffled.mean(("position", "place_read"))
    return ((study.probe_accuracy - chance) / (1 - chance)).clip(min=0)


def mean_over_operand_digits(study: xr.Dataset, name: str) -> xr.Dataset:
    """`written` or `lens`, mean over the digits of the result that stand where operands have one.

    Returns:
        `mean` and `error`, (followed, part) or (followed, position).
    """
    of = slice(study.sizes["answer"] - 1)
    mean, error = (study[each].isel(answer=of) for each in (name, f"{name}_sem"))
    n = mean.sizes["answer"]
    return xr.Dataset({"mean": mean.mean("answer"), "error": (error**2).sum("answer") ** 0.5 / n})
