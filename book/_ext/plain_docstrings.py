"""Sphinx extension: docstrings are plain text with `code`; other markup is escaped. Short types."""

import re

_CODE = re.compile(r"(`[^`]*`)")
_TENSOR = re.compile(r"jaxtyping\.(\w+)\[[\w.]+, '([^']*)'\]")
_DOTTED = re.compile(r"\b\w+(?:\.\w+)*\.(\w+)")
_TYPE = "   :type: "


def _escaped(line: str) -> str:
    # Every other part stands between backticks.
    parts = _CODE.split(line)
    parts[::2] = [re.sub(r"([|*\\]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _escape(app, what, name, obj, options, lines):
    lines[:] = [_escaped(line) for line in lines]


def _last_part(found: re.Match) -> str:
    # The tilde shows the last part alone and keeps the link.
    return f"~{found[0]}" if found[0].startswith("universal_response.") else found[1]


def _short(annotation: str) -> str:
    """A type as a reader says it: names without modules, tensors with their axes in brackets."""
    in_words = _TENSOR.sub(
        lambda found: f"{found[1].lower()} tensor ({', '.join(found[2].split())})", annotation
    )
    return _DOTTED.sub(_last_part, in_words)


def _shorten(app, what, name, obj, options, lines):
    """Types of attributes, which napoleon puts below the text, short and behind the name."""
    shown = []
    for line in lines:
        if line.startswith(".. attribute:: "):
            begin = len(shown) + 1
        if line.startswith(_TYPE):
            shown.insert(begin, _TYPE + _short(line.removeprefix(_TYPE)))
        else:
            shown.append(line)
    lines[:] = shown


def setup(app):
    # Before napoleon, which adds markup of its own, and after it.
    app.connect("autodoc-process-docstring", _escape, priority=100)
    app.connect("autodoc-process-docstring", _shorten, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
