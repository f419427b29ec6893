"""Links and files of the built pages, read without a browser."""

from functools import cache
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from built import HTML, ROOT, page_names

PAGES = page_names()
# What a browser fetches or prepares to fetch on its own, unlike the target of a link.
LOADED = ("img", "script", "source", "iframe", "embed", "object", "video", "audio", "link")


@cache
def parsed(path):
    return BeautifulSoup(path.read_text(), "html.parser")


@cache
def anchors(path):
    """Everything in a page that a #fragment can point to."""
    found = parsed(path).find_all(lambda tag: tag.get("id") or tag.get("name"))
    return {tag[key] for tag in found for key in ("id", "name") if tag.get(key)}


def addresses(path, names):
    """Every address in the tags of these names, with the file and the fragment it points to.

    The file is None for an address on another host or of another kind, such as mailto.
    """
    for tag in parsed(path).find_all(names):
        for key in ("href", "src", "data", "poster"):
            if address := tag.get(key):
                parts = urlsplit(address)
                elsewhere = parts.scheme or parts.netloc
                file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                yield address, None if elsewhere else file, unquote(parts.fragment)


def listed(entry):
    """The files a table of contents names, at any depth."""
    if isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        entry = list(entry.values())
    if isinstance(entry, list):
        for inner in entry:
            yield from listed(inner)


def test_every_page_of_the_contents_is_built():
    names = list(listed(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    assert names
    assert {f"{name}.html" for name in names} <= set(PAGES)


def test_the_folder_opens_at_the_first_page():
    root = yaml.safe_load((ROOT / "_toc.yml").read_text())["root"]
    assert f"url={root}.html" in (HTML / "index.html").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_book_lead_somewhere(name):
    broken = []
    for address, file, fragment in addresses(HTML / name, ["a", "area", *LOADED]):
        if file is None:
            continue
        if file.is_dir():
            file /= "index.html"
        # `#` alone is the top of the page.
        known = not fragment or (file.suffix == ".html" and fragment in anchors(file))
        if HTML not in file.parents or not file.is_file() or not known:
            broken.append(address)
    assert broken == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_loaded_from_elsewhere(name):
    found = [
        address
        for address, file, _ in addresses(HTML / name, LOADED)
        if file is None and not address.startswith("data:")
    ]
    assert found == []
