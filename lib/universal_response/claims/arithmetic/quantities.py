"""What is computed of studies of models that add: a number for every seed of a training."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from universal_response.arithmetic import summaries

Studies = Sequence[xr.Dataset]
Quantity = Callable[[Studies], np.ndarray]

UNITS, TENS = 0, 1


def of_each(number: Callable[[xr.Dataset], Any], withheld: str = "nothing") -> Quantity:
    """A number of every study of a training, by seed."""

    def quantity(studies: Studies) -> np.ndarray:
        mine = [study for study in studies if study.attrs["withheld"] == withheld]
        mine.sort(key=lambda study: int(study.attrs["training_seed"]))
        return np.array([float(number(study)) for study in mine])

    return quantity


def accuracy(part: str) -> Callable[[xr.Dataset], Any]:
    return lambda study: study.accuracy.sel(part_of_split=part)


def part_of_nodes(study: xr.Dataset) -> float:
    """Size of the circuit of the tens over that of all nodes that can matter to them."""
    return float(study.circuit_nodes[TENS] / study.node_rank.isel(answer=TENS).notnull().sum())


def random_tens(study: xr.Dataset) -> Any:
    return summaries.at_circuit(study).random[TENS]


def written_by_last_mlp(study: xr.Dataset) -> Any:
    """Part of the logit of the right digit that the last MLP writes, units and tens."""
    right = study.written.sel(followed="right").isel(answer=[UNITS, TENS])
    return (right.isel(part=-1) / right.sum("part")).mean()


def _probed(study: xr.Dataset, label: str, position: int) -> xr.DataArray:
    return study.probe_accuracy.sel(label=label, place_read="=").isel(position=position)


def moved_by_first_attention(label: str) -> Callable[[xr.Dataset], Any]:
    """What a probe for a digit gains at `=` by the first attention."""
    return lambda study: _probed(study, label, 1) - _probed(study, label, 0)


def made_by_last_mlp(study: xr.Dataset) -> Any:
    """What a probe for units of the result gains at `=` by the last MLP."""
    return _probed(study, "r0", -1) - _probed(study, "r0", -2)


def part_of_neurons(study: xr.Dataset) -> Any:
    """Neurons of the last MLP that are needed for nine of ten sums, over all."""
    needed = summaries.neurons_needed(study, study.sizes["layer"] - 1)
    return needed.sel(operation="sums") / study.sizes["rank"]


def shared_neurons(study: xr.Dataset) -> float:
    return summaries.shared_neurons(study, study.sizes["layer"] - 1, 32)


def deleted_operands(study: xr.Dataset) -> Any:
    """Logit that the last MLP writes to the operands' digits, less another, over the right one."""
    of = study.written.isel(part=-1, answer=[UNITS, TENS]).mean("answer")
    operands = of.sel(followed=["first", "second"]).mean()
    return (operands - of.sel(followed="other")) / of.sel(followed="right")


def solved(kind: str) -> Callable[[xr.Dataset], Any]:
    return lambda study: summaries.likely(study).solved.sel(kind_of_problem=kind)


def rescue(row: str, name: str = "mean") -> Callable[[xr.Dataset], Any]:
    return lambda study: summaries.rescued(study)[name].sel(rescue=row)


def beyond_unpatched(study: xr.Dataset) -> Any:
    found = summaries.rescued(study)["mean"]
    withheld = found.sel(rescue="circuit, corrected output, its place withheld")
    return withheld - found.sel(rescue="none, after the error")


def carry_at_tens(study: xr.Dataset) -> float:
    return summaries.at_carry(study, TENS)


def read_off_result(study: xr.Dataset) -> Any:
    """How much more often the tens change with the written units than with an operand's."""
    flips = study.answer_flips.isel(answer=TENS).sel(unit_sum=9)
    return flips.sel(changed="result alone") - flips.sel(changed="operand, result as before")
