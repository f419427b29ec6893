"""The built book: where it is, which pages it has, and how to open one in Chromium."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, Playwright

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
NO_CHROMIUM = (
    "no Chromium on PATH; on Debian or Ubuntu: apt-get install chromium, elsewhere: "
    "https://www.chromium.org/getting-involved/download-chromium/"
)


@dataclass(frozen=True)
class View:
    """How a reader looks at a page: width of the window in pixels, colour scheme."""

    width: int
    scheme: str

    def __str__(self) -> str:
        return f"{self.width}px-{self.scheme}"


@dataclass
class Visit:
    """A page that has been loaded, and what happened until then."""

    page: Page
    requests: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def foreign(self) -> list[str]:
        """What was asked from anywhere but the book's own folder."""
        own = (HTML.as_uri() + "/", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(own)]


def page_names() -> list[str]:
    """Every page of the last build, as a path below `HTML`.

    The search index lists the documents of that build alone; pages of an earlier one may still lie
    in the folder. Sphinx adds the generated pages to it under fixed names.
    """
    text = (HTML / "searchindex.js").read_text()
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    names = [f"{name}.html" for name in index["docnames"]]
    generated = ["genindex.html", "search.html", "py-modindex.html"]
    return names + [name for name in generated if (HTML / name).exists()]


def launch(playwright: Playwright) -> Browser | None:
    """Headless Chromium from PATH, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return playwright.chromium.launch(executable_path=found) if found else None


@contextmanager
def visit(browser: Browser, name: str, view: View) -> Iterator[Visit]:
    """Load a page from its file, with no network and nothing remembered from other pages.

    A page of the book by its name, another one by its address. Returns once all files are loaded
    and all math is set.
    """
    # Colours that are still changing would be measured halfway.
    context = browser.new_context(
        viewport={"width": view.width, "height": 900},
        color_scheme=view.scheme,
        reduced_motion="reduce",
        offline=True,
    )
    page = context.new_page()
    seen = Visit(page)
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("requestfailed", lambda request: seen.failed.append(request.url))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("console", lambda said: said.type == "error" and seen.errors.append(said.text))
    page.on("console", lambda said: said.type == "warning" and seen.warnings.append(said.text))
    try:
        page.goto(name if "://" in name else os.path.join(HTML.as_uri(), name))
        settle(page)
        yield seen
    finally:
        context.close()


def settle(page: Page) -> None:
    """Wait until math is set and drawn; a page without math has no MathJax."""
    page.evaluate(
        """async () => {
            await window.MathJax?.startup?.promise;
            await document.fonts.ready;
            await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
        }"""
    )
