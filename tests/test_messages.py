"""The messages that the page on running lists are those of the library."""

import ast
import re

import house
import pytest

PAGE = house.ROOT / "book" / "run.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## When it fails")[2]
MESSAGES = re.findall(r"^\| `([^`]+)` \|", SECTION, re.MULTILINE)
PART = 0.25  # of a message that a text of the library must fix


def templates():
    """Every text of the library, with a gap wherever a value is put in."""
    for path in (house.ROOT / "lib" / house.LIBRARY).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield [
                    part.value if isinstance(part, ast.Constant) else None for part in node.values
                ]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield [node.value]


def pattern(parts):
    return ".*".join("" if part is None else re.escape(part.replace("`", "")) for part in parts)


PATTERNS = [
    (re.compile(pattern(parts)), sum(len(part) for part in parts if part)) for parts in templates()
]


@pytest.mark.parametrize("message", MESSAGES)
def test_listed_messages_are_in_the_library(message):
    """Dots stand for what is left out; other numbers and names are examples."""
    least = PART * len(message)
    assert any(fixed >= least and found.search(message) for found, fixed in PATTERNS), message


def test_messages_are_found_on_the_page():
    assert len(MESSAGES) > 40
