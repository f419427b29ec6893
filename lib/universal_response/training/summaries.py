"""What a study of training says, in a few numbers by seed. Pure functions of its Dataset."""

import numpy as np
import xarray as xr
from scipy.stats import rankdata

# The loss at which the source reads off when a model has learned.
LEARNED = 0.35
LN2 = float(np.log(2))  # of a model that knows which two labels stand there, and not more
NEVER = np.inf
# Names of experiments.
FULL, RESPONSES, GRAFT, SINGLE = "full", "responses", "grafted", "single heads"
CLASSES, LABELS = "100 classes", "10 labels"
MATCHING, COPYING = "L1 + copy", "match"  # clamps that leave one subcircuit to be learned
CURVES = (
    "sequences", "loss", "accuracy", "induction_strength", "previous_token", "response",
)  # fmt: skip


def runs_of(dataset: xr.Dataset, experiment: str) -> xr.Dataset:
    """The runs of one experiment, up to their end.

    Raises:
        ValueError: the study has no such experiment.
    """
    mine = (dataset.experiment == experiment).values
    if not mine.any():
        there = ", ".join(dict.fromkeys(dataset.experiment.values.tolist()))
        raise ValueError(f"experiment={experiment}: not in this study; choose one of {there}")
    found = dataset[[name for name in CURVES if name in dataset]].isel(run=mine)
    return found.isel(time=slice(int(found.sequences.notnull().sum("time").max())))


def training_loss(dataset: xr.Dataset, experiment: str) -> xr.DataArray:
    """Loss on sequences of the training split (run, time)."""
    return runs_of(dataset, experiment).loss.sel(split="training", drop=True)


def first_below(values: xr.DataArray, level: float, when: xr.DataArray) -> xr.DataArray:
    """When curves are below a level for the first time, on straight lines between evaluations.

    Args:
        values: (run, time).
        level: a number.
        when: sequences seen (run, time).

    Returns:
        (run,), in sequences; `NEVER` where a curve stays above.
    """
    found = [_first_below(v, level, t) for v, t in zip(values.values, when.values, strict=True)]
    return xr.DataArray(found, dims="run", coords=_of_runs(values))


def _of_runs(values: xr.DataArray) -> dict[str, xr.DataArray]:
    return {str(name): each for name, each in values.coords.items() if each.dims == ("run",)}


def _first_below(values: np.ndarray, level: float, when: np.ndarray) -> float:
    below = values < level
    if not below.any():
        return NEVER
    place = int(below.argmax())
    if place == 0:
        return float(when[0])
    before, after = values[place - 1], values[place]
    part = (before - level) / (before - after)
    return float(when[place - 1] + part * (when[place] - when[place - 1]))


def learned(dataset: xr.Dataset, experiment: str, level: float = LEARNED) -> xr.DataArray:
    """Sequences after which the loss is below a level (run,)."""
    loss = training_loss(dataset, experiment)
    return first_below(loss, level, runs_of(dataset, experiment).sequences)


def plateau(dataset: xr.Dataset, experiment: str) -> xr.DataArray:
    """Loss on the plateau: the median over the second and third quarter of the time to `LEARNED`.

    Returns:
        (run,); nan where a run has not learned.
    """
    runs, end = runs_of(dataset, experiment), learned(dataset, experiment)
    within = (runs.sequences >= end / 4) & (runs.sequences <= 3 * end / 4) & np.isfinite(end)
    return training_loss(dataset, experiment).where(within).median("time")


def steepness(dataset: xr.Dataset, experiment: str) -> xr.DataArray:
    """Time in which the loss falls from .6 to .2 over the time that it took to get to .6 (run,)."""
    start, end = (learned(dataset, experiment, level) for level in (0.6, 0.2))
    return (end - start) / start


def contrast(dataset: xr.Dataset, experiment: str) -> xr.DataArray:
    """S over training: difference of the responses to the right and the wrong label over their sum.

    Returns:
        (run, time).
    """
    response = runs_of(dataset, experiment).response
    right, wrong = response.sel(label="correct"), response.sel(label="wrong")
    return (right - wrong) / (right + wrong)


def largest_strength(dataset: xr.Dataset, experiment: str) -> xr.DataArray:
    """Induction strength over training of the head that is strongest at the end (run, time)."""
    strength = runs_of(dataset, experiment).induction_strength
    return strength.isel(head=strength.isel(time=-1).argmax("head")).drop_vars(
        "head", errors="ignore"
    )


def half_point(values: xr.DataArray, when: xr.DataArray) -> xr.DataArray:
    """When curves have risen to half of their last value for the first time.

    Args:
        values: (run, time).
        when: sequences seen (run, time).

    Returns:
        (run,), in sequences.
    """
    return first_below(-values / values.isel(time=-1), -0.5, when)


def ratios(first: xr.DataArray, second: xr.DataArray) -> np.ndarray:
    """Of every value of the second to every one of the first: all above 1 where none overlap."""
    with np.errstate(invalid="ignore"):
        return (second.values[:, None] / first.values[None]).ravel()


def rank_correlation(one: xr.DataArray, other: xr.DataArray, dim: str) -> xr.DataArray:
    """Spearman's, along a dimension."""
    return xr.corr(_ranks(one, dim), _ranks(other, dim), dim)


def _ranks(values: xr.DataArray, dim: str) -> xr.DataArray:
    dims = [[dim]]
    return xr.apply_ufunc(
        rankdata, values, input_core_dims=dims, output_core_dims=dims, kwargs={"axis": -1}
    )


def delays(dataset: xr.Dataset, data: str) -> xr.Dataset:
    """How many times longer other data take to learn, run by run.

    Args:
        dataset: of `study_training`.
        data: `CLASSES` or `LABELS`.

    Returns:
        (run,) for `nothing` clamped, and for each subcircuit by its clamp.
    """
    pairs = {"nothing": (data, FULL)}
    pairs |= {clamp: (f"{clamp}, {data}", clamp) for clamp in (MATCHING, COPYING)}
    # Of what neither learns there is no ratio.
    with np.errstate(invalid="ignore"):
        found = {
            name: learned(dataset, one).values / learned(dataset, other).values
            for name, (one, other) in pairs.items()
        }
    return xr.Dataset({name: ("run", each) for name, each in found.items()})


def half_points(dataset: xr.Dataset, experiment: str) -> xr.Dataset:
    """When loss, strength and S are half-way to where they end, in sequences (run,).

    That of the loss is half-way down from the plateau.
    """
    when = runs_of(dataset, experiment).sequences
    loss = training_loss(dataset, experiment)
    middle = (plateau(dataset, experiment) + loss.isel(time=-1)) / 2
    return xr.Dataset(
        {
            "loss": first_below(loss - middle, 0.0, when),
            "strength": half_point(largest_strength(dataset, experiment), when),
            "contrast": half_point(contrast(dataset, experiment), when),
        }
    )
