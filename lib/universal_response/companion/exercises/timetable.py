"""Tables of exercises and timetables."""

import pandas as pd

from universal_response.companion.exercises.catalogue import EXERCISES, SESSIONS


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
