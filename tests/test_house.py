"""The picture of the house, the length of its modules, and the files that CONTRIBUTING names."""

import ast
import re
import statistics

import house

LIBRARY = house.ROOT / "lib" / house.LIBRARY
MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")
ROOMS = sorted(path.parent for path in LIBRARY.rglob("__init__.py"))
# The page with the names of the package and the commands first.
REFERENCE = sorted((house.ROOT / "book").glob("api*.md"), key=lambda path: path.stem)
# Tables of data and not of code.
TABLES = {"models/registry.py", "claims/statements.py", "companion/exercises/catalogue.py"}


def length(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def functions():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                has_docstring = ast.get_docstring(node) is not None
                body = node.body[has_docstring:]
                yield body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_the_picture_is_that_of_the_imports():
    page = house.PAGE.read_text(encoding="utf-8")
    assert house.drawn(page) == page, "run `make house`"


def test_every_arrow_goes_down_the_road():
    order = {room: place for place, layer in enumerate(house.road()) for room in layer}
    assert all(order[room] < order[other] for room, other in house.arrows())


def test_no_module_is_long():
    lengths = {path.relative_to(LIBRARY).as_posix(): length(path) for path in MODULES}
    assert {name: n for name, n in lengths.items() if n > 300 and name not in TABLES} == {}


def test_modules_and_functions_are_short():
    assert statistics.median(map(length, MODULES)) <= 140
    assert statistics.median(functions()) <= 9


def test_tests_are_in_the_folder_of_their_room():
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir()}
    folders = {path.parent.name for path in (house.ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"book"} <= rooms


def test_the_files_named_are_there():
    page = house.PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`((?:lib|tests|book|notebooks|benchmarks)/[\w./-]+)`", page)
    named += [
        f"lib/universal_response/{name}"
        for name in re.findall(
            r"`((?:models|propagation|"
            r"response|measurement|heads|training|subtraction|claims|figures|companion|cli)/[\w./]*)`",
            page,
        )
    ]
    assert named
    assert [name for name in named if not (house.ROOT / name).exists()] == []


def test_the_commands_named_are_there():
    page = house.PAGE.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (house.ROOT / "Makefile").read_text(), re.MULTILINE)
    asked = re.findall(r"(?:`|^)make ([a-z]+)", page, re.MULTILINE)
    assert asked
    assert set(asked) - set(targets) == set()


def test_rooms_name_what_they_give():
    for path in LIBRARY.rglob("__init__.py"):
        stub = path.with_suffix(".pyi")
        eager = path.parent.relative_to(LIBRARY).as_posix() in ("propagation/rules", "cli")
        assert stub.exists() != eager, path


def test_every_module_is_in_the_reference():
    text = "".join(page.read_text(encoding="utf-8") for page in REFERENCE)
    listed = re.findall(r"automodule:: ([\w.]+)", text)
    there = [".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts) for path in MODULES]
    ours = {name for name in there if ".cli." not in name and name.split(".")[-1][0] != "_"}
    rooms = {".".join(path.relative_to(LIBRARY.parent).parts) for path in ROOMS}
    assert ours - set(listed) == set()
    assert [name for name in set(listed) if listed.count(name) > 1] == []
    assert set(listed) - ours - rooms == set()


def test_the_reference_leads_to_every_room_on_the_page_that_has_it():
    index, *pages = (path.read_text(encoding="utf-8") for path in REFERENCE)
    told = dict(re.findall(r"^\| \{doc\}`/(book/api_\w+)` \| (.*) \|$", index, re.MULTILINE))
    there = {
        f"book/{path.stem}": ", ".join(
            f"`{room}`" for room in re.findall(r"^## (\w+)$", page, re.M)
        )
        for path, page in zip(REFERENCE[1:], pages, strict=True)
    }
    assert told == there
    contents = (house.ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert re.findall(r"- file: (book/api_\w+)", contents) == list(told)
