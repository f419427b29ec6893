"""Sphinx extension: docstrings are plain text with `code`; other markup is escaped."""

import re

_CODE = re.compile(r"(`[^`]*`)")


def _escaped(line: str) -> str:
    # Every other part stands between backticks.
    parts = _CODE.split(line)
    parts[::2] = [re.sub(r"([|*\\]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _escape(app, what, name, obj, options, lines):
    lines[:] = [_escaped(line) for line in lines]


def setup(app):
    # Before napoleon, which adds markup of its own.
    app.connect("autodoc-process-docstring", _escape, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
