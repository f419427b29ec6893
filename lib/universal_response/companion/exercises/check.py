"""Whether an answer is right."""

from pathlib import Path
from typing import Any

import xarray as xr

from universal_response.companion.exercises.answers import Unanswered, WrongKind, holds_dots
from universal_response.companion.exercises.catalogue import EXERCISES, SESSIONS
from universal_response.companion.exercises.exercise import Verdict
from universal_response.measurement import kind_of, load_results

SHIPPED = Path(__file__).parents[4] / "results"


def load(results: str, folder: str | Path = SHIPPED, kind: str = "response") -> xr.Dataset:
    """The results a session works with.

    Args:
        results: name of a shipped file without its ending, or the path of an `.nc` file.
        folder: where the shipped files are.
        kind: what the file must hold.

    Raises:
        ValueError: there is no such file, it is damaged, or of another kind.
    """
    path = Path(results) if results.endswith(".nc") else Path(folder) / f"{results}.nc"
    if not path.exists():
        raise ValueError(
            f"results={results}: no file {path}; give the path of an .nc file, or install the "
            "library from a checkout"
        )
    return load_results(path, kind)


def check(name: str, answer: Any, data: xr.Dataset | None = None) -> Verdict:
    """Tell whether an answer is right.

    Args:
        name: of the exercise.
        answer: what the exercise asks for; `...` stands for no answer yet.
        data: results the session works with; the shipped ones of SmolLM2-135M if None.

    Returns:
        A Verdict, which a notebook shows as a sentence. An exception that a student's function
        raises is passed on.

    Raises:
        ValueError: no such exercise, or its session works with results of another kind.
    """
    if name not in EXERCISES:
        raise ValueError(f"name={name}: no such exercise; choose one of {', '.join(EXERCISES)}")
    exercise = EXERCISES[name]
    session = SESSIONS[exercise.session]
    if data is not None and kind_of(data) != session.kind:
        raise ValueError(
            f"data: holds {kind_of(data)}, not {session.kind}; pass the results that session "
            f"{session.number} works with"
        )
    try:
        if holds_dots(answer):
            raise Unanswered
        used = load(session.results, kind=session.kind) if data is None else data
        right = exercise.check(answer, used)
    except Unanswered:
        return Verdict(False, f"{name}: no answer yet; put one in place of the dots.")
    except WrongKind as wrong:
        return Verdict(False, f"{name}: not yet. The answer should be {wrong}.")
    return Verdict(right, f"{name}: {'right.' if right else f'not yet. {exercise.hint}'}")
