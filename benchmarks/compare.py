"""All contenders on the same model, tokens and strengths, and whether they agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from statistics import median

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from universal_response.metrics import COSINES, METRICS, delta, phi
from universal_response.propagation import inner_products
from universal_response.response import response_function

from benchmarks.contenders import CONTENDERS, Case
from benchmarks.roofline import Roofline, faster, roofline
from benchmarks.timing import Timing, interleaved

# Spent on every size of matrix product before every run.
RATE_SECONDS = 0.3
# Units in the last place by which the difference of two states may be off after all layers.
ROUNDING = 64


class Disagreement(ValueError):
    """Contenders do not return the same response functions; their times mean nothing."""


@dataclass(frozen=True)
class Comparison:
    """Times of all contenders on one case.

    Attributes:
        timings: by contender.
        worst: by contender, the largest difference from the plain way, in units of what is allowed.
        limit: operations, and the highest rate of every product.
        limit_seconds: the shortest possible time of the finite strengths.
        rates: of all products together at the moments between the runs, FLOP/s.
        n_strengths: how many strengths there are.
    """

    timings: dict[str, Timing]
    worst: dict[str, float]
    limit: Roofline
    limit_seconds: float
    rates: tuple[float, ...]
    n_strengths: int

    def ratio(self, contender: str, to: str = "engine") -> float:
        """How many times longer the median of a contender is than that of another."""
        return self.timings[contender].median / self.timings[to].median

    @property
    def linear_passes(self) -> float:
        """Cost of the linear limit in finite-strength passes of the engine."""
        return self.n_strengths * self.ratio("linear")

    @property
    def reached_of_median(self) -> float:
        """Part of the median rate that the engine reaches: medians of what was run in turn."""
        seconds = self.limit_seconds * self.limit.rate / median(self.rates)
        return seconds / self.timings["engine"].median


def compare(
    case: Case, repetitions: int = 3, names: tuple[str, ...] = tuple(CONTENDERS)
) -> Comparison:
    """Time contenders in turn and check that they agree.

    Args:
        case: what all compute.
        repetitions: how often each is run.
        names: which contenders; `engine` is always among them.

    Raises:
        Disagreement: response functions differ by more than 1e-4 relative plus rounding.
    """
    device = case.tokens.device
    moments: list[Roofline] = []

    def measure_rate() -> None:
        moments.append(roofline(case.model, case.tokens.shape[1], RATE_SECONDS))

    chosen = {
        name: lambda contender=CONTENDERS[name]: contender(case)
        for name in dict.fromkeys((*names, "engine"))
    }
    timings, found = interleaved(chosen, repetitions, device, measure_rate)
    measure_rate()
    limit = reduce(faster, moments)
    rates = tuple(moment.rate for moment in moments)
    found.pop("linear", None)
    worst = disagreement(case, found)
    n_sequences, t = case.tokens.shape
    seconds = limit.seconds(n_sequences, t, len(case.epsilons))
    return Comparison(timings, worst, limit, seconds, rates, len(case.epsilons))


def disagreement(case: Case, found: Mapping[str, Tensor]) -> dict[str, float]:
    """Largest difference from the first contender, in units of what is allowed; at most 1.

    Allowed is 1e-4 relative (of the cosines: absolute) and what the metric makes of
    `ROUNDING` units in the last place of a state, by which a subtraction may be off.

    Raises:
        Disagreement: one exceeds 1.
    """
    first, *others = found
    if not others:
        return {}
    rounding = _labelled(case, _rounding(case))
    reference = _labelled(case, found[first])
    cosine = reference.metric.isin(COSINES)
    allowed = 1e-4 * xr.where(cosine, 1.0, abs(reference)) + rounding
    worst = {}
    for name in others:
        excess = abs(_labelled(case, found[name]) - reference) / allowed.where(allowed > 0)
        worst[name] = float(excess.max())
        if worst[name] > 1:
            at = excess.isel(excess.fillna(-1.0).argmax(...))
            place = ", ".join(f"{key}={at[key].item()}" for key in reference.dims)
            raise Disagreement(
                f"{name}: differs from {first} by {worst[name]:.1f} times what is allowed at "
                f"{place}; times of different results are not compared"
            )
    return worst


def _labelled(case: Case, response: Tensor) -> xr.DataArray:
    n_positions, t = response.shape[2:]
    return xr.DataArray(
        response.cpu().numpy(),
        dims=("metric", "epsilon", "position", "delta_j"),
        coords={
            "metric": list(METRICS),
            "epsilon": list(case.epsilons),
            "position": np.arange(n_positions),
            "delta_j": np.arange(t),
        },
    )


def _rounding(case: Case) -> Tensor:
    """What rounding makes of every response value, (metric, epsilon, position, delta_j).

    Pair by pair: a mean is as uncertain as the pairs in it that hardly respond, of which the mean
    length says nothing.
    """
    products = inner_products(case.tokens, case.model, case.epsilons)
    length, angle = delta(products), phi(products)
    # Norms compute in single precision whatever the model's number type.
    off = torch.full_like(length, ROUNDING * torch.finfo(torch.float32).eps).triu()
    # phi is half a squared angle.
    error = {"delta": off, "phi": off**2 / 2 + (2 * angle).sqrt() * off}
    of_cosine = (off / length).nan_to_num(2).clamp(max=2)
    means = [response_function(error.get(name, of_cosine)).mean(2) for name in METRICS]
    return torch.stack(means).transpose(1, 2)
