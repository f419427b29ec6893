"""The explorer of the built book: its controls show the numbers of the results files."""

import numpy as np
import pytest
from built import HTML, ROOT
from universal_response import response
from universal_response.companion import explorer

PAGE = "book/explorer.html"
ADDRESS = (HTML / PAGE).as_uri()
EVERYTHING_DRAWN = "#explorer-root[aria-busy=false]"
TITLE = "SmolLM2-135M-Instruct (4 bit)"
# The data of a panel's trace, typed arrays as lists.
TRACE = """([panel, name]) => {
    const { data } = document.getElementById("explorer-" + panel);
    const trace = data.find(each => each.name === name);
    return { x: Array.from(trace.x), y: Array.from(trace.y) };
}"""
PICTURE = (
    "(panel) => { const { z } = document.getElementById(`explorer-${panel}`).data[0]; return z; }"
)


def faults(seen):
    """What must not happen, whatever a reader does."""
    return seen.errors + seen.warnings + seen.failed + seen.foreign


def set_controls(page, **values):
    """Choose as a reader does; sliders by their place."""
    for name, value in values.items():
        control = page.locator(f"#explorer-{name}")
        if name in ("epsilon", "position"):
            control.fill(str(value))
        else:
            control.select_option(value)
        page.wait_for_selector(EVERYTHING_DRAWN)


@pytest.fixture(scope="module")
def results():
    return explorer.of_common_strengths(explorer.results_of_models(ROOT / "results"))


def test_curve_shows_the_response_at_every_setting(seen, page, results):
    """A walk through models, metrics, strengths and positions, near T0 and everywhere."""
    steps = [
        {"model": "smollm2-135m", "metric": "delta", "epsilon": 6, "position": 60, "view": "all"},
        {"epsilon": 0},
        {"position": 41},
        {"metric": "phi"},
        {"metric": "theta_source", "epsilon": 12},
        {"model": "gemma-3-270m", "position": 17},
        {"view": "near"},
        {"metric": "theta_perturbation", "epsilon": 3},
        {"metric": "delta", "position": 3},
    ]
    at, drawn = {}, []
    for step in steps:
        set_controls(page, **step)
        at |= step
        dataset = results[at["model"]]
        here = dataset.response.sel(metric=at["metric"], position=at["position"])
        expected = here.isel(epsilon=at["epsilon"])
        if at["view"] == "near":
            expected = expected.sel(delta_j=dataset.window.values)
        found = page.evaluate(TRACE, ["curve", "response"])
        np.testing.assert_array_equal(found["x"], expected.delta_j)
        np.testing.assert_array_equal(np.float32(found["y"]), expected.values)
        drawn.append(tuple(found["y"]))
        # The other strengths stand behind it.
        for k in (0, dataset.sizes["epsilon"] - 1):
            strength = np.format_float_positional(dataset.epsilon.values[k], trim="-")
            faint = page.evaluate(TRACE, ["curve", f"ε = {strength}"])
            other = here.isel(epsilon=k).sel(delta_j=found["x"])
            np.testing.assert_array_equal(np.float32(faint["y"]), other.values)
    assert len(set(drawn)) == len(steps)
    assert faults(seen) == []


def test_band_is_that_of_the_file(page, results):
    set_controls(
        page, model="smollm2-135m", metric="theta_source", epsilon=1, position=20, view="all"
    )
    dataset = results["smollm2-135m"]
    at = {"metric": "theta_source", "position": 20}
    value = dataset.response.sel(at).isel(epsilon=1)
    error = dataset.response_sem.sel(at).isel(epsilon=1)
    lower = page.evaluate(TRACE, ["curve", "standard error"])["y"]
    np.testing.assert_allclose(value - lower, error, rtol=0.032, atol=1e-7)


def test_division_makes_the_curves_collapse(page, results):
    set_controls(page, model="smollm2-135m", metric="phi", epsilon=3, position=60, view="all")
    set_controls(page, scale="divided")
    dataset = results["smollm2-135m"]
    curve = dataset.response.sel(metric="phi", position=60).isel(epsilon=3)
    expected = curve / (float(dataset.epsilon[3]) / dataset.attrs["epsilon0"]) ** 2
    found = page.evaluate(TRACE, ["curve", "response"])["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    reference = page.evaluate(TRACE, ["curve", "ε = 0.05"])["y"]
    assert 0.8 < np.median(np.array(found) / reference) < 1.25  # 0.04 before
    # A cosine has nothing to divide by.
    set_controls(page, metric="theta_source")
    assert page.locator("#explorer-scale").is_disabled()
    found = page.evaluate(TRACE, ["curve", "response"])["y"]
    cosine = dataset.response.sel(metric="theta_source", position=60).isel(epsilon=3)
    np.testing.assert_array_equal(np.float32(found), cosine)
    set_controls(page, metric="delta", scale="measured")


def test_map_shows_the_response_where_there_is_one(page, results):
    set_controls(page, model="gemma-3-270m", metric="delta", epsilon=1, view="all")
    dataset = results["gemma-3-270m"]
    value = dataset.response.sel(metric="delta").isel(epsilon=1)
    above = (value > 0).values
    assert 0 < above.mean() < 1
    found = np.array(page.evaluate(PICTURE, "map"), dtype=float)
    np.testing.assert_array_equal(np.isfinite(found), above)
    np.testing.assert_allclose(found[above], np.log10(value.values[above]), rtol=1e-6)

    set_controls(page, view="near")
    near = value.sel(delta_j=dataset.window.values)
    found = np.array(page.evaluate(PICTURE, "map"), dtype=float)[3:]
    np.testing.assert_allclose(found, (near / near.max("delta_j"))[3:], rtol=1e-6)
    set_controls(page, view="all")


def test_click_on_a_row_of_the_map_selects_it(page):
    set_controls(page, model="smollm2-135m", metric="delta", epsilon=7, position=5)
    plot = page.locator("#explorer-map .nsewdrag")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    # Rows 0 to 60 from below; the middle of row 48.
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] * (1 - 48.5 / 61))
    page.wait_for_selector("#explorer-map .hoverlayer .hovertext")
    assert "ℓ = 48" in page.locator("#explorer-map .hoverlayer").text_content()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function("document.getElementById('explorer-position').value === '48'")
    page.wait_for_selector(EVERYTHING_DRAWN)
    assert "ℓ = 48 (MLP of layer 23)" in page.inner_text("#explorer-summary")
    frame = page.evaluate("document.getElementById('explorer-map').layout.shapes[0]")
    assert (frame["y0"], frame["y1"]) == (47.5, 48.5)


def test_finger_on_the_map_scrolls_or_selects(browser):
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
    phone = context.new_page()
    phone.goto(ADDRESS)
    phone.wait_for_selector(EVERYTHING_DRAWN)
    plot = phone.locator("#explorer-map .nsewdrag")
    plot.evaluate("it => it.scrollIntoView({ block: 'center' })")
    before = phone.evaluate("scrollY")
    touch = context.new_cdp_session(phone)
    for k in range(11):
        kind = "touchMove" if k else "touchStart"
        point = {"x": 180, "y": 400 - 10 * k}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        phone.wait_for_timeout(16)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    phone.wait_for_timeout(300)
    phone.wait_for_selector(EVERYTHING_DRAWN)
    assert phone.evaluate("scrollY") > before
    assert phone.input_value("#explorer-position") == "60"
    box = plot.bounding_box()
    phone.touchscreen.tap(box["x"] + 100, box["y"] + box["height"] * (1 - 20.5 / 61))
    phone.wait_for_function("document.getElementById('explorer-position').value === '20'")
    context.close()


def test_matrix_is_the_stored_one(page, results):
    for model in ("gemma-3-270m", "smollm2-135m"):
        set_controls(page, model=model, metric="theta_source")
        found = np.array(page.evaluate(PICTURE, "matrix"), dtype=float)
        expected = results[model].matrix.sel(metric="theta_source").values
        causal = np.triu(np.ones_like(expected)) > 0
        np.testing.assert_array_equal(np.isfinite(found), causal)
        np.testing.assert_array_equal(np.float32(found[causal]), expected[causal])
        last = response.last(results[model])
        assert page.inner_text("#explorer-matrix-at") == f"ℓ = 2L = {last}, ε₀ = 0.05"


def test_summary_and_labels_say_what_is_shown(page, results):
    set_controls(page, model="smollm2-135m", metric="delta", epsilon=7, position=41, view="all")
    said = page.inner_text("#explorer-summary")
    assert said.startswith(f"{TITLE}, delta, ε = 0.05, ℓ = 41 (attention of layer 20): ")
    near = results["smollm2-135m"].response.sel(metric="delta", position=41).isel(epsilon=7)
    near = near.sel(delta_j=results["smollm2-135m"].window.values)
    assert f"Δj = {int(near.idxmax())}" in said
    assert f"{float(near.max()):.4g}" in said
    assert page.get_attribute("#explorer-summary", "aria-live") == "polite"
    assert page.get_attribute("#explorer-epsilon", "aria-valuetext") == "0.05"
    assert page.get_attribute("#explorer-position", "aria-valuetext") == "41, attention of layer 20"
    assert said in page.get_attribute("#explorer-curve", "aria-label")
    for panel in ("curve", "map", "matrix"):
        assert page.get_attribute(f"#explorer-{panel}", "role") == "img"
        assert f"{TITLE}, delta" in page.get_attribute(f"#explorer-{panel}", "aria-label")


def test_keyboard_moves_the_sliders(page):
    set_controls(page, epsilon=7, position=41)
    page.focus("#explorer-position")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(EVERYTHING_DRAWN)
    assert "ℓ = 40 (MLP of layer 19)" in page.inner_text("#explorer-summary")


def test_sliders_end_where_the_model_ends(page):
    set_controls(page, model="smollm2-135m", position=60)
    set_controls(page, model="gemma-3-270m")
    assert "ℓ = 36 (MLP of layer 17)" in page.inner_text("#explorer-summary")


def test_the_address_keeps_the_choice(browser, page):
    set_controls(page, model="gemma-3-270m", metric="phi", epsilon=4, position=30, view="near")
    expected = page.evaluate(TRACE, ["curve", "response"])
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector(EVERYTHING_DRAWN)
    assert other.evaluate(TRACE, ["curve", "response"]) == expected
    assert other.url == page.url
    # Nonsense in an address is passed over.
    other.goto(page.url.partition("#")[0] + "#model=none&epsilon=many&position=-3&other=1")
    other.reload()
    other.wait_for_selector(EVERYTHING_DRAWN)
    assert "SmolLM2-135M" in other.inner_text("#explorer-summary")
    other.close()


def test_buttons_of_the_page_set_it_up(page):
    buttons = page.locator("button[data-explorer]")
    assert buttons.count() == 3
    for k, expected in enumerate(
        ("delta, ε = 0.05, ℓ = 10", "delta, ε = 0.05", "theta_source, ε = 0.00001")
    ):
        set_controls(page, model="smollm2-135m", metric="phi")
        buttons.nth(k).click()
        page.wait_for_selector(EVERYTHING_DRAWN)
        assert expected in page.inner_text("#explorer-summary")


def test_nothing_asked_from_elsewhere_and_no_errors(seen):
    assert faults(seen) == []


@pytest.mark.parametrize("width", [360, 1300])
def test_no_horizontal_scroll(browser, width):
    narrow = browser.new_page(viewport={"width": width, "height": 740})
    narrow.goto(ADDRESS)
    narrow.wait_for_selector(EVERYTHING_DRAWN)
    for control, value in (("view", "near"), ("metric", "theta_perturbation")):
        set_controls(narrow, **{control: value})
        widths = narrow.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
    for panel in ("curve", "map", "matrix"):
        drawn = narrow.locator(f"#explorer-{panel} .main-svg").first.bounding_box()
        assert drawn["x"] >= 0
        assert drawn["x"] + drawn["width"] <= width
        assert drawn["width"] > 0.3 * width
    narrow.close()
