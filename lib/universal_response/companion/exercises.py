"""The course: its exercises, checks that tell whether an answer is right, and timetables.

A check holds no answers. It computes what it compares with, from a results file or from a small
calculation of its own, so it stays right when the course is taught with another model.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from universal_response.measurement import load_results
from universal_response.metrics import METRICS, InnerProducts
from universal_response.response import (
    POWER,
    at_epsilon,
    induction_onset,
    last,
    relative_deviation,
    window,
)

SHIPPED = Path(__file__).parents[3] / "results"
SESSION_MINUTES = 90


@dataclass(frozen=True)
class Exercise:
    """One exercise of the course.

    Attributes:
        name: what `check` knows it by.
        title: its heading.
        session: 1, 2 or 3.
        difficulty: `easy`, `medium` or `hard`.
        minutes: expected time.
        check: whether an answer is right, given the results the session works with.
        hint: said when it is not; does not give the answer away.
    """

    name: str
    title: str
    session: int
    difficulty: str
    minutes: int
    check: Callable[[Any, xr.Dataset], bool]
    hint: str


@dataclass(frozen=True)
class Verdict:
    """What `check` found; true where the answer is right, and shown as its message.

    Attributes:
        right: whether the answer is right.
        message: the same in words, with a hint if it is not.
    """

    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Session:
    """One session of the course.

    Attributes:
        number: 1, 2 or 3.
        title: its heading.
        plan: in order, minutes and what is explained, or the name of an exercise.
    """

    number: int
    title: str
    plan: tuple[tuple[int, str] | str, ...]


def load(results: str, folder: str | Path = SHIPPED) -> xr.Dataset:
    """The results a session works with.

    Args:
        results: name of a shipped file without its ending, or the path of an `.nc` file.
        folder: where the shipped files are.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    path = Path(results) if results.endswith(".nc") else Path(folder) / f"{results}.nc"
    if not path.exists():
        raise ValueError(
            f"results={results}: no file {path}; give the path of an .nc file, or install the "
            "library from a checkout"
        )
    return load_results(path)


def check(name: str, answer: Any, data: xr.Dataset | None = None) -> Verdict:
    """Tell whether an answer is right.

    Args:
        name: of the exercise.
        answer: what the exercise asks for; `...` stands for no answer yet.
        data: results the session works with; those of SmolLM2-135M if None.

    Returns:
        A Verdict, which a notebook shows as a sentence. An exception that a student's function
        raises is passed on.

    Raises:
        ValueError: no such exercise.
    """
    if name not in EXERCISES:
        raise ValueError(f"name={name}: no such exercise; choose one of {', '.join(EXERCISES)}")
    exercise = EXERCISES[name]
    try:
        if _holds_dots(answer):
            raise _Unanswered
        right = exercise.check(answer, load("smollm2-135m") if data is None else data)
    except _Unanswered:
        return Verdict(False, f"{name}: no answer yet; put one in place of the dots.")
    except _WrongKind as wrong:
        return Verdict(False, f"{name}: not yet. The answer should be {wrong}.")
    return Verdict(right, f"{name}: {'right.' if right else f'not yet. {exercise.hint}'}")


def table() -> pd.DataFrame:
    """All exercises, a row each: session, exercise, difficulty, minutes; indexed by name."""
    rows = [
        (exercise.name, exercise.session, exercise.title, exercise.difficulty, exercise.minutes)
        for exercise in EXERCISES.values()
    ]
    columns = ["name", "session", "exercise", "difficulty", "minutes"]
    return pd.DataFrame(rows, columns=columns).set_index("name")


def timetable(session: int) -> pd.DataFrame:
    """The plan of a session, a row for each part: when it begins (min), its minutes, what.

    Raises:
        ValueError: no such session.
    """
    if session not in SESSIONS:
        raise ValueError(f"session={session}: no such session; choose one of {list(SESSIONS)}")
    rows, begins = [], 0
    for part in SESSIONS[session].plan:
        if isinstance(part, str):
            exercise = EXERCISES[part]
            minutes, what = exercise.minutes, f"Exercise: {exercise.title}"
        else:
            minutes, what = part
        rows.append((begins, minutes, what))
        begins += minutes
    return pd.DataFrame(rows, columns=["from", "minutes", "what"])


def as_markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown, without its index."""
    header = [str(column) for column in frame.columns]
    rows = [header, ["---"] * len(header), *frame.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


class _Unanswered(Exception):
    """The dots are still there."""


class _WrongKind(Exception):
    """The answer is no number, no function, ...: says what it should be."""


def _holds_dots(answer: Any) -> bool:
    parts = answer.values() if isinstance(answer, dict) else answer
    return answer is ... or (
        isinstance(answer, tuple | list | dict) and any(part is ... for part in parts)
    )


def _number(answer: Any) -> float:
    """A single finite number, also as a numpy or xarray scalar."""
    try:
        value = np.asarray(answer)
    except Exception:
        raise _WrongKind("a number") from None
    if value.size != 1 or value.dtype.kind not in "iuf" or not np.isfinite(value).all():
        raise _WrongKind("a number")
    return float(value.reshape(()))


def _pair(answer: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise _WrongKind(what)
    return answer[0], answer[1]


def _powers(answer: Any) -> dict[str, float]:
    if not isinstance(answer, dict) or set(answer) != {"delta", "phi"}:
        raise _WrongKind('a power each for "delta" and "phi", as a dict')
    return {metric: _number(power) for metric, power in answer.items()}


def _call(function: Any, *arguments: Any) -> Any:
    if not callable(function):
        raise _WrongKind("a function (its name, without brackets)")
    result = function(*arguments)
    if _holds_dots(result):
        raise _Unanswered
    return result


def _matches(result: Any, expected: Any, rtol: float) -> bool:
    """Numbers of the expected shape and values."""
    try:
        found = np.asarray(result)
    except Exception:
        return False
    expected = np.asarray(expected)
    if found.dtype.kind not in "iuf" or found.shape != expected.shape:
        return False
    return bool(np.allclose(found, expected, rtol=rtol, atol=0))


def _near(answer: Any, truth: float, rtol: float = 0.0, atol: float = 0.0) -> bool:
    return abs(_number(answer) - float(truth)) <= rtol * abs(float(truth)) + atol


def _slope(strengths: Any, values: Any) -> float:
    """Power of the strength with which values grow, by least squares on logarithms."""
    return float(np.polyfit(np.log(strengths), np.log(values), 1)[0])


def _t0(data: xr.Dataset) -> int:
    return int(data.attrs["t0"])


def _reference(data: xr.Dataset, metric: str = "delta") -> xr.DataArray:
    """Response functions at the reference strength (position, delta_j)."""
    return at_epsilon(data.response.sel(metric=metric), float(data.attrs["epsilon0"]))


# Session 1


def _read_peak(answer: Any, data: xr.Dataset) -> bool:
    far = _reference(data).sel(position=last(data), delta_j=slice(_t0(data) // 2, None))
    return _number(answer) == int(far.idxmax("delta_j"))


def _causal_zeros(answer: Any, data: xr.Dataset) -> bool:
    return _number(answer) == int((data.matrix.sel(metric="delta") == 0).sum())


def _first_responder(answer: Any, data: xr.Dataset) -> bool:
    # Short embeddings leak a little through the first norm: take the position at which the
    # response of the other tokens grows by the largest factor.
    others = _reference(data).sel(delta_j=slice(1, None)).mean("delta_j")
    growth = others.values[2:] / np.maximum(others.values[1:-1], np.finfo(np.float32).tiny)
    return _number(answer) == 2 + int(growth.argmax())


def _relative_length(answer: Any, data: xr.Dataset) -> bool:
    generator = np.random.default_rng(0)
    for shape in ((7,), (3, 5), (2, 3, 4)):
        x, perturbed = generator.normal(size=(2, *shape))
        vectors = zip(x.reshape(-1, shape[-1]), perturbed.reshape(-1, shape[-1]), strict=True)
        lengths = [math.dist(after, before) / math.hypot(*before) for before, after in vectors]
        expected = np.array(lengths).reshape(shape[:-1])
        if not _matches(_call(answer, x, perturbed), expected, rtol=1e-6):
            return False
    return True


def _two_powers(answer: Any, data: xr.Dataset) -> bool:
    claimed = _powers(answer)
    weak = data.response.sel(position=last(data), epsilon=data.epsilon <= 0.0301).mean("delta_j")
    return all(
        abs(_slope(weak.epsilon, weak.sel(metric=metric)) - power) < 0.1
        for metric, power in claimed.items()
    )


def _collapse(answer: Any, data: xr.Dataset) -> bool:
    for metric in ("delta", "phi"):
        response = data.response.sel(metric=metric, position=last(data))
        response = response.transpose("epsilon", "delta_j")
        relative = response.epsilon.values / float(data.attrs["epsilon0"])
        expected = np.array(
            [
                curve / factor ** POWER[metric]
                for curve, factor in zip(response.values, relative, strict=True)
            ]
        )
        result = _call(answer, data, metric)
        if isinstance(result, xr.DataArray) and set(result.dims) == {"epsilon", "delta_j"}:
            result = result.transpose("epsilon", "delta_j")
        if not _matches(result, expected, rtol=1e-3):
            return False
    return True


# Session 2


def _two_lanes(answer: Any, data: xr.Dataset) -> bool:
    early, late = _pair(answer, "two distances, (early, late)")
    peak = _reference(data).sel(delta_j=window(_t0(data))).idxmax("delta_j")
    end = last(data)
    return (_number(early), _number(late)) == (
        float(peak.sel(position=end // 3)),
        float(peak.sel(position=5 * end // 6)),
    )


def _peak_to_median(answer: Any, data: xr.Dataset) -> bool:
    curve = _reference(data).sel(position=last(data))
    truth = float(curve.sel(delta_j=_t0(data) - 1)) / float(np.median(curve))
    return _near(answer, truth, rtol=0.02)


def _attention_share(answer: Any, data: xr.Dataset) -> bool:
    curve = _reference(data).sel(delta_j=_t0(data) - 1)
    gained = {"attention": 0.0, "mlp": 0.0}
    for step, sublayer in zip(np.diff(curve), curve.sublayer.values[1:], strict=True):
        gained[str(sublayer)] += float(step)
    return _near(answer, gained["attention"] / sum(gained.values()), atol=0.01)


def _onset(answer: Any, data: xr.Dataset) -> bool:
    t0, epsilon0 = _t0(data), float(data.attrs["epsilon0"])
    cases = [
        (
            _reference(data, metric).sel(delta_j=window(t0)).transpose("position", "delta_j"),
            t0,
            induction_onset(data, epsilon0, metric).position,
        )
        for metric in ("delta", "phi")
    ]
    cases += [(_made_up_map(peaks), 8, expected) for peaks, expected in _MADE_UP_MAPS]
    return all(_same(_call(answer, curves, at), expected) for curves, at, expected in cases)


# For T0 = 8: distance of the peak at l = 0, 1, ... (None for a tie), and where it settles at 7.
_MADE_UP_MAPS: tuple[tuple[tuple[int | None, ...], int | None], ...] = (
    ((8, 8, 7, 7, 7), 2),
    ((8, 7, 7, 8, 7), 4),
    ((8, 7, 5, 7, 7), 3),
    ((8, 7, 7, 7, 6), None),
    ((None, 7, 7, 7, 7), 1),
    ((7, 7, 7, 7, 7), 0),
)


def _made_up_map(peaks: tuple[int | None, ...]) -> xr.DataArray:
    curves = np.ones((len(peaks), 11))
    distances = window(8)
    curves[:, distances == 7] = 2
    for row, peak in zip(curves, peaks, strict=True):
        row[distances == (8 if peak is None else peak)] = 2 if peak is None else 3
    coords = {"position": np.arange(len(peaks)), "delta_j": distances}
    return xr.DataArray(curves, dims=("position", "delta_j"), coords=coords)


def _same(result: Any, expected: int | None) -> bool:
    if result is None or expected is None:
        return result is expected
    return _number(result) == expected


def _relative_depth(answer: Any, data: xr.Dataset) -> bool:
    onset = induction_onset(data, float(data.attrs["epsilon0"])).position
    return onset is not None and _near(answer, onset / last(data), atol=0.01)


def _paired_error(answer: Any, data: xr.Dataset) -> bool:
    t0, epsilon0 = _t0(data), float(data.attrs["epsilon0"])
    measured = at_epsilon(data.last_sum.sel(metric="delta"), epsilon0) / data.n_pairs
    peak, same = (measured.sel(delta_j=distance).values for distance in (t0 - 1, t0))
    apart = np.sqrt(peak.var(ddof=1) + same.var(ddof=1))
    return _near(answer, float(apart / (peak - same).std(ddof=1)), rtol=0.02)


# Session 3


def _carry_change(answer: Any, data: xr.Dataset) -> bool:
    v = np.random.default_rng(0).normal(size=50).astype(np.float32)
    for size in (1.0, 1e-2, 1e-6, 1e-10, 1e-20):
        d = (size * np.random.default_rng(1).normal(size=50)).astype(np.float32)
        # Products and sums of these in double precision, where nothing nearly equal is subtracted.
        expected = 2 * v.astype(float) * d + d.astype(float) ** 2
        if not _matches(_call(answer, v, d), expected, rtol=1e-4):
            return False
    return True


def _stable_angle(answer: Any, data: xr.Dataset) -> bool:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(50, 64)).astype(np.float32)
    turned = generator.normal(size=x.shape)
    for epsilon in (0.3, 1e-2, 1e-3, 1e-5):
        perturbed = (x + epsilon * turned).astype(np.float32)
        # Double precision is enough here, whatever the formula.
        wide, after = x.astype(float), perturbed.astype(float)
        lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(after, axis=1)
        expected = 1 - (wide * after).sum(1) / lengths
        if not _matches(_call(answer, x, perturbed), expected, rtol=1e-2):
            return False
    # In double precision too: a cast only moves the problem. The vectors (3, 4), (-4, 3) are
    # perpendicular and equally long, so the angle is known without any cosine.
    small = 1e-9
    before = np.array([[3.0, 4.0]])
    after = before + small * np.array([[-4.0, 3.0]])
    found = _call(answer, before, after)
    return _matches(found, np.array([2 * math.sin(math.atan(small) / 2) ** 2]), rtol=1e-2)


def _parallel_response(answer: Any, data: xr.Dataset) -> bool:
    claimed = _powers(answer)
    strengths = np.array([1e-3, 3e-3, 1e-2])
    x, second_order = np.random.default_rng(0).normal(size=(2, 16))
    responses = [epsilon * x + epsilon**2 * second_order for epsilon in strengths]
    length = np.linalg.norm(x)
    across = [np.linalg.norm(d - (d @ x) * x / length**2) for d in responses]
    along = [length + d @ x / length for d in responses]
    measured = {
        "delta": [np.linalg.norm(d) / length for d in responses],
        "phi": [
            2 * math.sin(math.atan2(a, b) / 2) ** 2 for a, b in zip(across, along, strict=True)
        ],
    }
    return all(
        abs(_slope(strengths, measured[metric]) - power) < 0.1 for metric, power in claimed.items()
    )


def _plateau(answer: Any, data: xr.Dataset) -> bool:
    measured = relative_deviation(data, "delta", float(data.attrs["epsilon0"]))["mean"]
    settled = measured.sel(epsilon=(measured.epsilon > 5e-4) & (measured.epsilon < 5e-3))
    return _near(answer, float(settled.mean()), rtol=0.15, atol=0.002)


def _own_measurement(answer: Any, data: xr.Dataset) -> bool:
    if not isinstance(answer, xr.Dataset) or not {"response", "tokens"} <= set(answer):
        raise _WrongKind("the Dataset that measure returned")
    weak = answer.epsilon.values <= 0.0501
    strengths = answer.epsilon.values[weak]
    if len(strengths) < 3 or strengths.max() / strengths.min() < 9.99:
        return False
    if answer.tokens.shape == data.tokens.shape and (answer.tokens == data.tokens).all():
        return False
    at = {"metric": "delta", "position": last(answer)}
    response = answer.response.sel(at).isel(epsilon=weak).mean("delta_j")
    return abs(_slope(strengths, response) - POWER["delta"]) < 0.1


def _own_metric(answer: Any, data: xr.Dataset) -> bool:
    metric, claimed = _pair(answer, "a function and a power, (metric, power)")
    power = _number(claimed)
    strengths = np.array([1e-4, 3e-4, 1e-3])
    products = _known_products(strengths)
    values = _call(metric, products)
    if not isinstance(values, torch.Tensor) or values.shape != products.response_response.shape:
        return False
    if not torch.isfinite(values).all() or (values.tril(-1) != 0).any():
        return False
    if any(_proportional(values[-1], known(products)[-1]) for known in METRICS.values()):
        return False
    size = values[-1].abs().mean((-3, -2, -1))
    return bool((size > 0).all()) and abs(_slope(strengths, size.numpy()) - power) < 0.05


def _known_products(strengths: np.ndarray) -> InnerProducts:
    """Inner products of made-up streams D = epsilon a + epsilon^2 b, in double precision."""
    generator = torch.Generator().manual_seed(0)
    t, width = 6, 16
    x = torch.randn(3, 1, 2, 1, t, width, generator=generator, dtype=torch.float64)
    a, b = torch.randn(2, 3, 1, 2, t, t, width, generator=generator, dtype=torch.float64)
    a[0], b[0] = 0, 0
    own = torch.arange(t)
    a[0, :, :, own, own] = -x[0, :, :, 0]
    epsilon = torch.as_tensor(strengths)[:, None, None, None, None]
    response = (epsilon * a + epsilon**2 * b) * torch.ones(t, t).triu()[..., None]
    source = response[:, :, :, own, own][..., None, :]
    along = (response * x).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True)
    return InnerProducts(
        state_state=(x * x).sum(-1)[:, 0, :, 0],
        response_response=(response * response).sum(-1),
        response_state=(response * x).sum(-1),
        response_source=(response * source).sum(-1),
        response_perturbation=(response * source[:1]).sum(-1),
        perpendicular=((response - along * x) ** 2).sum(-1),
        sources=own.repeat(2, 1),
        fallback_modules=(),
    )


def _proportional(values: torch.Tensor, others: torch.Tensor) -> bool:
    """Equal but for a factor."""
    size = values.norm() * others.norm()
    return bool(size > 0 and abs((values * others).sum() / size) > 1 - 1e-6)


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        Exercise(
            "read-peak", "Read the peak", 1, "easy", 5, _read_peak,
            "Look at the magnified panel: each marker is one distance. Short distances do not "
            "count.",
        ),
        Exercise(
            "causal-zeros", "Count the zeros", 1, "easy", 5, _causal_zeros,
            "Fill in a 3 by 3 matrix by hand first. Can a token respond to itself?",
        ),
        Exercise(
            "first-responder", "The first to notice", 1, "medium", 10, _first_responder,
            "What can a norm not see? And which kind of sublayer moves anything from token to "
            "token?",
        ),
        Exercise(
            "relative-length", "Write the first metric", 1, "easy", 10, _relative_length,
            "Which vector is measured, and which one is it relative to? The last axis is that of "
            "the vector; all axes before it remain.",
        ),
        Exercise(
            "two-powers", "Predict two powers", 1, "medium", 10, _two_powers,
            "Halve the response in your mind: what happens to its length, and what to one minus "
            "the cosine of a small angle? Expand the cosine.",
        ),
        Exercise(
            "collapse", "Make the curves collapse", 1, "medium", 15, _collapse,
            "The curve of the reference strength must come out unchanged, and every metric has a "
            "power of its own.",
        ),
        Exercise(
            "two-lanes", "Two lanes", 2, "easy", 5, _two_lanes,
            "Go along the row of that position in the left panel, and read the distance under its "
            "brightest cell. Early first.",
        ),
        Exercise(
            "peak-to-median", "How tall is the peak?", 2, "easy", 10, _peak_to_median,
            "The response at the induction distance over the median of all distances, both at "
            "the last position and the reference strength.",
        ),
        Exercise(
            "attention-share", "Who made it?", 2, "medium", 10, _attention_share,
            "Add up every step of one kind of sublayer, the negative ones too, and divide by the "
            "sum of all steps.",
        ),
        Exercise(
            "onset", "The onset of induction", 2, "medium", 15, _onset,
            "The peak has to stay: come from the end. It must beat every other distance of the "
            "window, a tie is no lead, and the answer may be None.",
        ),
        Exercise(
            "relative-depth", "Another model", 2, "easy", 5, _relative_depth,
            "The onset of the other model, divided by its own last position. Did you pass the "
            "other results to the check?",
        ),
        Exercise(
            "paired-error", "Pairs have smaller errors", 2, "hard", 15, _paired_error,
            "Once take the error of each response and add their squares; once subtract sequence "
            "by sequence and take the error of that. First over second.",
        ),
        Exercise(
            "carry-change", "Carry the change", 3, "easy", 5, _carry_change,
            "Multiply out the square of v + d. What is left when the square of v is taken away on "
            "paper, and not by the program?",
        ),
        Exercise(
            "stable-angle", "An angle that survives", 3, "medium", 15, _stable_angle,
            "A difference can be no more exact than what is subtracted: the cosine is already "
            "rounded, the components of the two vectors are not. How do the vectors differ, and "
            "which part of that turns them?",
        ),
        Exercise(
            "parallel-response", "When the turn is missing", 3, "hard", 10, _parallel_response,
            "Which is the lowest order of the response that points across x? What does one minus "
            "the cosine do with it?",
        ),
        Exercise(
            "plateau", "Predict the plateau", 3, "hard", 10, _plateau,
            "For weak strengths every response is its linear limit; the reference is not. Work out "
            "one ratio for each distance, then take the mean, and mind the sign.",
        ),
        Exercise(
            "own-measurement", "Measure it yourself", 3, "medium", 10, _own_measurement,
            "It needs tokens that the shipped results do not have, and at least three strengths "
            "no larger than 0.05 that span a factor of ten.",
        ),
        Exercise(
            "own-metric", "A metric of your own", 3, "hard", 20, _own_metric,
            "The metric has to be a tensor shaped like response_response, zero left of the source, "
            "and none of the library's up to a factor. If all of that holds, look at the power "
            "again: which is the lowest order of D in it?",
        ),
    )
}  # fmt: skip

SESSIONS: dict[int, Session] = {
    session.number: session
    for session in (
        Session(
            1, "One token, a little weaker",
            (
                (10, "The residual stream, the input, the perturbation"),
                "read-peak", "causal-zeros",
                (10, "What a norm cannot see; attention and MLP"),
                "first-responder",
                (5, "Three metrics"),
                "relative-length",
                (5, "Small responses are linear"),
                "two-powers", "collapse",
                (5, "Round-up"),
            ),
        ),
        Session(
            2, "Layer by layer",
            (
                (10, "The layer map"),
                "two-lanes", "peak-to-median",
                (10, "Increments, and what a share is not"),
                "attention-share",
                (5, "Defining an onset"),
                "onset", "relative-depth", "paired-error",
                (5, "Round-up"),
            ),
        ),
        Session(
            3, "Limits and measuring",
            (
                (5, "What subtraction loses"),
                "carry-change", "stable-angle",
                (5, "The exact limit and higher orders"),
                "parallel-response", "plateau",
                (5, "From tokens to inner products"),
                "own-measurement", "own-metric",
                (5, "Round-up"),
            ),
        ),
    )
}  # fmt: skip
