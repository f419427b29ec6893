"""Pictures of pages of the built book, to look at: python tests/book/screenshots.py [page ...]"""

import sys

from built import HTML, NO_CHROMIUM, View, launch, page_names, visit
from playwright.sync_api import sync_playwright

VIEWS = (View(1300, "light"), View(375, "light"), View(1300, "dark"))


def main(wanted: list[str]) -> None:
    """Whole pages, in every view, to `_build/screenshots`; all pages if none is named."""
    folder = HTML.parent / "screenshots"
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            sys.exit(f"Screenshots need a browser: {NO_CHROMIUM}")
        for name in page_names():
            page = name.removesuffix(".html")
            if wanted and page not in wanted:
                continue
            for view in VIEWS:
                with visit(browser, name, view) as seen:
                    path = folder / f"{page.replace('/', '-')}-{view}.png"
                    seen.page.screenshot(path=path, full_page=True)
                    print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
