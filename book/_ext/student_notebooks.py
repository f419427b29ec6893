"""Sphinx extension: make the student notebooks at every build, for the links that offer them."""

from pathlib import Path

from universal_response.companion.notebooks import write_student_notebooks


def _write(app):
    root = Path(app.srcdir)
    sources = sorted((root / "notebooks" / "course").glob("*.ipynb"))
    write_student_notebooks(sources, root / "_build" / "student")


def setup(app):
    app.connect("builder-inited", _write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
