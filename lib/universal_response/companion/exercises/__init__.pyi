from .catalogue import EXERCISES, SESSIONS
from .check import check, load
from .exercise import SESSION_MINUTES, Exercise, Session, Verdict
from .timetable import as_markdown, table, timetable

__all__ = [
    "EXERCISES",
    "SESSIONS",
    "SESSION_MINUTES",
    "Exercise",
    "Session",
    "Verdict",
    "as_markdown",
    "check",
    "load",
    "table",
    "timetable",
]
