"""The map of a prompt, in the built book and in a page that is mailed, shows what is measured."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from built import HTML, ROOT, View, visit
from shipped import shipped_results
from universal_response import read_text
from universal_response.companion import explorer_prompt, prompt_page

DRAWN = "#prompt-map[aria-busy=false]"
T, LAST = 58, 60
# The colour of every pair, as numbers.
FILLS = """() => Object.fromEntries([...document.querySelectorAll("#prompt-map rect[data-i]")].map(
    each => [`${each.dataset.i} ${each.dataset.j}`, each.getAttribute("fill")]))"""
HOSTILE = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>&amp;\u2028"


@pytest.fixture(scope="module")
def dataset():
    return shipped_results("prompt-smollm2-135m")


@pytest.fixture(scope="module")
def mailed(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("mailed") / "page.html"
    text = read_text(ROOT / "notebooks" / "prompt.txt")
    return prompt_page.write_page(dataset, text, path).as_uri()


@pytest.fixture(scope="module", params=["book", "mailed"])
def seen(request, browser, mailed):
    address = mailed if request.param == "mailed" else "book/explorer_prompt.html"
    with visit(browser, address, View(1300, "light")) as seen:
        seen.page.wait_for_selector(DRAWN)
        yield seen


@pytest.fixture
def page(seen):
    """As it is when it is opened."""
    seen.page.reload()
    seen.page.wait_for_selector(DRAWN)
    return seen.page


def c(dataset, name, position, i, j):
    stored = dataset[{"finite": "map", "limit": "linear_map"}[name]]
    value = float(stored.sel(metric="delta").values[position, i, j])
    return value / 0.05 if name == "finite" else value


def show(page, position=None, **chosen):
    if position is not None:
        page.locator("#prompt-map-l").fill(str(position))
    for name, value in chosen.items():
        page.locator(f"input[name=prompt-map-{name}][value={value}]").check()


def summary(page):
    return page.inner_text("#prompt-map .summary")


def expected_colour(scale, value):
    """The colour of a number, in plain words: linear between those given, along its logarithm."""
    low, high = scale["range"]
    way = np.clip(np.log(value / low) / np.log(high / low), 0, 1)
    rgb = [[int(each[k : k + 2], 16) for k in (1, 3, 5)] for each in scale["colours"]]
    places = np.linspace(0, 1, len(rgb))
    return [np.interp(way, places, channel) for channel in np.transpose(rgb)]


@pytest.mark.parametrize("kind", ["finite", "limit", "ratio"])
@pytest.mark.parametrize("position", [LAST, 20])
def test_every_pair_has_the_colour_of_its_number(page, dataset, kind, position):
    show(page, position, kind=kind)
    found = page.evaluate(FILLS)
    assert len(found) == T * (T + 1) / 2
    scale = explorer_prompt.prompt_data(dataset)["scales"][
        "ratio" if kind == "ratio" else "response"
    ]
    for pair, fill in list(found.items())[::7]:
        i, j = map(int, pair.split())
        values = {name: c(dataset, name, position, i, j) for name in ("finite", "limit")}
        value = values["finite"] / values["limit"] if kind == "ratio" else values[kind]
        rgb = [int(part) for part in fill.removeprefix("rgb(").removesuffix(")").split(",")]
        # A unit of a colour, and what 5e-4 of a number is worth in the narrow scale of the ratio.
        np.testing.assert_allclose(rgb, expected_colour(scale, value), atol=4)


def test_where_nothing_responds_it_is_grey(page, dataset):
    show(page, 0)
    found = page.evaluate(FILLS)
    empty = explorer_prompt.prompt_data(dataset)["scales"]["empty"]
    assert {fill for pair, fill in found.items() if len(set(pair.split())) > 1} == {empty}
    assert found["3 3"] != empty


def test_a_pair_is_told_in_words_and_numbers(page, dataset):
    show(page, 41)
    page.locator("rect[data-i='12'][data-j='53']").click()
    said = summary(page)
    assert said.startswith("ℓ = 41 (attention of layer 20): i = 12 “a”, j = 53 “␣Edd”, Δj = 41: ")
    finite, limit = (c(dataset, name, 41, 12, 53) for name in ("finite", "limit"))
    assert f"C/ε = {finite:.3g} at ε = 0.05, limit {limit:.3g}" in said
    assert float(said.rstrip(".").rpartition("ratio ")[2]) == pytest.approx(
        finite / limit, abs=0.006
    )
    assert page.get_attribute("#prompt-map .summary", "aria-live") == "polite"
    assert page.get_attribute("#prompt-map-l", "aria-valuetext") == "41, attention of layer 20"


def test_hover_says_which_pair_it_is(page, dataset):
    page.locator("rect[data-i='7'][data-j='38']").hover()
    hint = page.inner_text("#prompt-map .hint").splitlines()
    assert hint[:3] == ["i = 7 “row”", "j = 38 “␣Car”", "Δj = 31"]
    assert hint[3] == f"C/ε = {c(dataset, 'finite', LAST, 7, 38):#.3g} at ε = 0.05"
    page.mouse.move(0, 0)
    assert page.locator("#prompt-map .hint").is_hidden()


def strongest(page):
    said = page.inner_text("#prompt-map .strongest")
    return said, [int(part.split()[0]) for part in said.partition(": ")[2].split(", ")]


def test_a_click_on_a_token_at_the_left_shows_its_row(page, dataset):
    page.locator("text.source[data-k='12']").click()
    said, found = strongest(page)
    assert said.startswith("Token 12 “a” is perturbed. Strongest answers: ")
    row = dataset["map"].sel(metric="delta").values[LAST, 12]
    order = 13 + np.argsort(row[13:])[::-1][:5]
    assert found == order.tolist()
    colours = page.evaluate(
        "[...document.querySelectorAll('#prompt-map .text button')].map(b => b.style.background)"
    )
    assert set(colours[:12]) == {"transparent"}
    fills = page.evaluate(FILLS)
    assert colours[12:] == [fills[f"12 {j}"] for j in range(12, T)]


def test_a_click_on_a_token_on_top_shows_its_column(page, dataset):
    page.locator("text.target[data-k='53']").click()
    said, found = strongest(page)
    assert said.startswith("Token 53 “␣Edd” answers. Strongest causes: ")
    column = dataset["map"].sel(metric="delta").values[LAST, :53, 53]
    assert found == np.argsort(column)[::-1][:5].tolist()
    assert page.locator("input[name=prompt-map-as][value=target]").is_checked()
    page.locator("text.target[data-k='11']").click()
    assert strongest(page)[0].startswith("Token 11 “␣Edd” answers.")
    assert "i = 0 “The”, j = 11 “␣Edd”" in summary(page)  # the other one stays
    # And so does a token of the text, now.
    page.locator("#prompt-map .text button[data-k='55']").click()
    assert strongest(page)[0].startswith("Token 55 “␣Marl” answers.")


def test_keys_reach_everything(page):
    page.focus("#prompt-map-l")
    page.keyboard.press("ArrowLeft")
    assert summary(page).startswith("ℓ = 59 ")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.locator("input[name=prompt-map-kind][value=limit]").is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.classList.contains('map')")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert "i = 2 “␣of”, j = 2 “␣of”, Δj = 0" in summary(page)
    page.keyboard.press("ArrowDown")  # nothing stands left of the diagonal
    assert "i = 2 “␣of”, j = 2" in summary(page)
    page.keyboard.press("End")
    assert "j = 57 “.”, Δj = 55" in summary(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.k") == "2"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.k") == "3"
    assert page.inner_text("#prompt-map .strongest").startswith("Token 3 “␣the” is perturbed.")


def test_the_prompt_can_be_read(page):
    text = "".join(page.locator("#prompt-map .text button").all_text_contents())
    assert text == read_text(ROOT / "notebooks" / "prompt.txt").strip()


def test_the_bar_names_its_numbers(page, dataset):
    low, high = explorer_prompt.prompt_data(dataset)["scales"]["response"]["range"]
    ticks = page.locator("#prompt-map .ticks span")
    values = [float(text) for text in ticks.all_text_contents()]
    assert len(values) >= 3
    lefts = [float(each.evaluate("it => it.style.left").rstrip("%")) for each in ticks.all()]
    expected = 100 * np.log(np.array(values) / low) / np.log(high / low)
    # The ends of the scale are written with four digits.
    np.testing.assert_allclose(lefts, expected, atol=0.1)
    show(page, kind="ratio")
    assert "ratio, finite over limit; logarithmic" in page.inner_text("#prompt-map .bar")


def test_nothing_asked_from_elsewhere_and_no_errors(seen):
    assert seen.errors + seen.warnings + seen.failed == []
    own = (HTML.as_uri() + "/", "data:")
    if "/mailed" in seen.page.url:
        assert set(seen.requests) == {seen.page.url}
    else:
        assert all(url.startswith(own) for url in seen.requests)


@pytest.mark.parametrize("view", [View(1300, "dark"), View(360, "light")], ids=str)
def test_the_mailed_page_is_accessible_and_fits(browser, mailed, view):
    """The page of the book is among those that `test_pages.py` looks at."""
    with visit(browser, mailed, view) as seen:
        seen.page.wait_for_selector(DRAWN)
        content, window = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert content <= window
        # The page forbids scripts but its own; the test's is put in past that.
        faults = Axe().run(seen.page).response["violations"]
        assert [each["id"] for each in faults if each["impact"] in ("serious", "critical")] == []


def test_what_a_prompt_holds_is_shown_and_not_run(browser, dataset, tmp_path):
    labels = dataset.token_label.astype(object)
    labels[0, 3] = HOSTILE
    hostile = dataset.assign(token_label=labels)
    path = prompt_page.write_page(hostile, HOSTILE, tmp_path / "page.html")
    with visit(browser, path.as_uri(), View(1300, "light")) as seen:
        seen.page.wait_for_selector(DRAWN)
        assert seen.page.evaluate("window.attacked") is None
        assert seen.page.text_content("blockquote") == HOSTILE
        token = seen.page.locator("#prompt-map .text button[data-k='3']")
        assert token.text_content() == HOSTILE
        token.click()
        assert HOSTILE in seen.page.text_content("#prompt-map .summary")
        assert seen.errors == []
        assert set(seen.requests) == {path.as_uri()}
