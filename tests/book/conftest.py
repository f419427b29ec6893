"""One browser for all tests of the built book."""

import os

import pytest
from built import HTML, NO_CHROMIUM, View, launch, visit
from playwright.sync_api import sync_playwright


def pytest_configure(config):
    if not (HTML / "searchindex.js").exists():
        raise pytest.UsageError(f"There is no built book in {HTML}: run `make book` first.")


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium. Without one the tests are skipped, or fail if REQUIRE_BROWSER is set."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            give_up = pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip
            give_up(f"The browser tests need Chromium: {NO_CHROMIUM}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def seen(browser, request):
    """The explorer of a module of tests, its PAGE, at desktop width."""
    with visit(browser, request.module.PAGE, View(1300, "light")) as seen:
        seen.page.wait_for_selector(request.module.EVERYTHING_DRAWN)
        yield seen


@pytest.fixture(scope="module")
def page(seen):
    return seen.page
