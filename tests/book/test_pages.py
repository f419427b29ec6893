"""Every page of the built book, opened in Chromium as a reader without a network would."""

import json
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from built import HTML, View, page_names, settle, visit

DESKTOP = View(1300, "light")
# Dark colours and the narrow layout have faults of their own.
VIEWS = (DESKTOP, View(1300, "dark"), View(360, "light"))
CASES = [(name, view) for name in page_names() for view in VIEWS]
RAW_TEX = re.compile(r"\\[A-Za-z(\[]")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def seen(request, browser):
    """A page in one view, loaded once for all tests."""
    with visit(browser, *request.param) as seen:
        yield seen


def test_asks_no_other_host_and_gets_every_file(seen):
    own = (HTML.as_uri() + "/", "data:", "blob:")
    assert [url for url in seen.requests if not url.startswith(own)] == []
    assert seen.failed == []


def test_console_shows_no_error(seen):
    assert seen.errors == []


def test_all_math_is_rendered(seen):
    found = seen.page.evaluate(
        """() => {
            const all = selector => [...document.querySelectorAll(selector)];
            const text = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            while (walker.nextNode())
                if (!walker.currentNode.parentElement.closest("code, pre, script, style, mjx-container"))
                    text.push(walker.currentNode.data);
            return {
                left: all(".math").filter(m => !m.querySelector("mjx-container")).map(m => m.textContent),
                // MathJax sets an unknown command in red and goes on.
                wrong: all("mjx-merror, mjx-container [mathcolor=red]").map(e => e.textContent),
                text: text.join("\\n"),
            };
        }"""
    )
    assert found["left"] == []
    assert found["wrong"] == []
    assert RAW_TEX.findall(found["text"]) == []


def test_every_image_shows_something_and_says_what(seen):
    images = seen.page.evaluate(
        "() => [...document.images].map(i => [i.getAttribute('src'), i.naturalWidth, i.alt])"
    )
    assert [src for src, width, _ in images if width == 0] == []
    # Sphinx puts the file's name where a text is missing.
    assert [src for src, _, alt in images if not alt.strip() or alt.strip() in src] == []


def test_nothing_sticks_out_to_the_right(seen):
    """The document does not scroll sideways; wide tables, code and formulas do, inside the page."""
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    content, window = seen.page.evaluate(widths)
    assert content <= window


def test_no_serious_accessibility_fault(seen):
    faults = Axe().run(seen.page).response["violations"]
    serious = [
        f"{fault['id']}: {node['html'][:200]} {node['failureSummary']}"
        for fault in faults
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []


def test_search_finds_a_page(browser):
    with visit(browser, "search.html?q=onset", DESKTOP) as seen:
        results = seen.page.locator("#search-results li a")
        results.first.wait_for()
        settle(seen.page)
        assert "book/method.html" in " ".join(
            link.get_attribute("href") for link in results.all()
        )
        assert seen.errors == []


def test_search_index_is_one_of_this_book():
    text = (HTML / "searchindex.js").read_text()
    assert json.dumps("book/method") in text
