"""The picture of the library in CONTRIBUTING: its rooms and shelves, and who imports from whom.

Drawn from the imports, so that it cannot lie. `make house` draws it anew.
"""

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- house: drawn by `make house` -->", "<!-- end of house -->"
LIBRARY = "universal_response"


def road() -> list[list[str]]:
    """Rooms in the order of the import contract, the first imports from all others."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(each["layers"] for each in contracts["contracts"] if each["type"] == "layers")
    return [layer.split(" | ") for layer in layers]


def imports() -> dict[str, set[str]]:
    """From which rooms each room imports."""
    graph = grimp.build_graph(LIBRARY, exclude_type_checking_imports=True)
    found: dict[str, set[str]] = {room: set() for layer in road() for room in layer}
    for module in graph.modules:
        room = module.split(".")[1:2]
        for other in graph.find_modules_directly_imported_by(module):
            taken = other.split(".")[1:2]
            if room and taken and room != taken:
                found[room[0]].add(taken[0])
    return found


def arrows() -> list[tuple[str, str]]:
    """Imports between rooms, without those that follow from two others."""
    direct = imports()
    reached: dict[str, set[str]] = {}
    for layer in reversed(road()):
        for room in layer:
            reached[room] = direct[room].union(*(reached[other] for other in direct[room]))
    return [
        (room, other)
        for layer in road()
        for room in layer
        for other in sorted(direct[room])
        if not any(other in reached[between] for between in direct[room])
    ]


def shelves(room: str) -> list[str]:
    """Modules and folders of a room."""
    folder = ROOT / "lib" / LIBRARY / room
    found = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    return sorted(name for name in found if not name.startswith("_"))


def picture() -> str:
    """The house in Mermaid."""
    lines = ["```mermaid", "flowchart TB"]
    for layer in road():
        for room in layer:
            names = shelves(room)
            rows = [" · ".join(names[first : first + 5]) for first in range(0, len(names), 5)]
            text = "<br/>".join([f"<b>{room}{'/' if names else '.py'}</b>", *rows])
            lines.append(f'    {room}["{text}"]')
    lines += [f"    {room} --> {other}" for room, other in arrows()]
    return "\n".join([*lines, "```"])


def drawn(text: str) -> str:
    """A page with the picture as it is now."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{picture()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
