"""Every page of the built book, opened in Chromium as a reader without a network would."""

import re
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from built import View, page_names, visit

DESKTOP = View(1300, "light")
# Dark colours and the narrow layout have faults of their own.
VIEWS = (DESKTOP, View(1300, "dark"), View(360, "light"))
CASES = [(name, view) for name in page_names() for view in VIEWS]
RAW_TEX = re.compile(r"\\[A-Za-z(\[]")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def seen(case, browser):
    """A page in one view, loaded once for all tests."""
    with visit(browser, *case) as seen:
        yield seen


@pytest.fixture(scope="module")
def view(case):
    return case[1]


def test_asks_no_other_host_and_gets_every_file(seen):
    assert seen.foreign == []
    assert seen.failed == []


def test_console_shows_no_error(seen):
    assert seen.errors == []


def test_all_math_is_rendered(seen):
    found = seen.page.evaluate(
        """() => {
            const all = selector => [...document.querySelectorAll(selector)];
            const text = [];
            const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
            const other = "code, pre, script, style, mjx-container";
            while (walker.nextNode())
                if (!walker.currentNode.parentElement.closest(other))
                    text.push(walker.currentNode.data);
            const width = element => element.getBoundingClientRect().width;
            const isCut = math =>
                math.checkVisibility() && width(math) < width(math.querySelector("mjx-math")) - 1;
            const source = elements => elements.map(element => element.textContent);
            return {
                left: source(all(".math").filter(math => !math.querySelector("mjx-container"))),
                // MathJax sets an unknown command in red and goes on.
                wrong: source(all("mjx-merror, mjx-container [mathcolor=red]")),
                // A displayed formula scrolls sideways, one within a line does not.
                cut: source(all("span.math:has(mjx-math)").filter(isCut)),
                text: text.join("\\n"),
            };
        }"""
    )
    raw = RAW_TEX.findall(found.pop("text"))
    assert {**found, "raw": raw} == {"left": [], "wrong": [], "cut": [], "raw": []}


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


def test_no_serious_accessibility_fault(seen, view):
    """Of colours on a wide window, of all else in one scheme: the rest says the same again."""
    contrast = "color-contrast"
    options = {"resultTypes": ["violations"]}
    if view.scheme == "dark":
        options["runOnly"] = {"type": "rule", "values": [contrast]}
    elif view.width < DESKTOP.width:
        options["rules"] = {contrast: {"enabled": False}}
    faults = Axe().run(seen.page, options=options).response["violations"]
    serious = [
        f"{fault['id']}: {node['html'][:200]} {node['failureSummary']}"
        for fault in faults
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []


def test_search_works_from_a_folder(browser):
    """Typed on some page, answered from the index alone."""
    with visit(browser, "notebooks/fig4.html", DESKTOP) as seen:
        seen.page.keyboard.press("Control+k")
        seen.page.keyboard.type("onset")
        seen.page.keyboard.press("Enter")
        results = seen.page.locator("#search-results li a")
        # They come one after another.
        results.and_(seen.page.locator("[href*='book/method.html']")).first.wait_for()
        links = [urlsplit(link.get_attribute("href")).path for link in results.all()]
        assert set(links) <= set(page_names())
        assert seen.errors == []
