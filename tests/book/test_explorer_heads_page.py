"""The explorer of heads in the built book: its panels show the numbers of the results files."""

import json
import shutil

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from built import HTML, ROOT, View, visit
from shipped import shipped_results
from universal_response import REGISTRY
from universal_response.companion import explorer_heads
from universal_response.heads import SCORES

PAGE = "book/explorer_heads.html"
ADDRESS = (HTML / PAGE).as_uri()
EVERYTHING_DRAWN = "#explorer-root[aria-busy=false]"
SHIPPED = [name for name in REGISTRY if (ROOT / "results" / f"heads-{name}.nc").is_file()]
PANELS = ("map", "attention", "share", "carried")
# The y of traces of a panel by name, typed arrays as lists.
TRACES = """(panel) => Object.fromEntries(document.getElementById("explorer-" + panel).data
    .filter(each => each.y).map(each => [each.name, Array.from(each.y)]))"""
MAP = "document.getElementById('explorer-map').data[0].z"


def choose(page, **values):
    """Choose as a reader does."""
    for name, value in values.items():
        page.locator(f"#explorer-{name}").select_option(str(value))
        page.wait_for_selector(EVERYTHING_DRAWN)


def chosen(page):
    return tuple(int(page.input_value(f"#explorer-{name}")) for name in ("layer", "head"))


def study(model):
    return shipped_results(f"heads-{model}")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_selector(EVERYTHING_DRAWN)


def said(value, error=np.nan):
    """A number as the page writes it in a sentence."""
    both = [f"{each:.3f}".replace("-", "−") for each in (value, error) if np.isfinite(each)]
    return "\u00a0±\u00a0".join(both)


@pytest.mark.parametrize("model", SHIPPED)
def test_panels_show_the_chosen_head(seen, page, model):
    """A walk through heads, the first and the last among them, at both strengths."""
    dataset = study(model)
    layers, heads = dataset.sizes["layer"], dataset.sizes["head"]
    choose(page, model=model)
    control = int(dataset.compared[0])
    drawn = []
    steps = [(0, 0, "limit"), (layers // 2, 1, "finite"), (layers - 1, heads - 1, "limit")]
    for layer, head, strength in steps:
        choose(page, layer=layer, head=head, strength=strength)
        one = dataset.isel(layer=layer, head=head)
        found = page.evaluate(TRACES, "attention")["attention"]
        np.testing.assert_array_equal(np.float32(found), one.attention_by_offset)
        shares = page.evaluate(TRACES, "share")
        for compared in (control, dataset.attrs["t0"] - 1, dataset.attrs["t0"]):
            for name in ("limit", "finite"):
                expected = one.share.sel(strength=name, compared=compared)
                found = np.float32(shares[f"Δj = {compared}, {name}"])
                np.testing.assert_array_equal(found, expected)
        carried = page.evaluate(TRACES, "carried")
        expected = one.carried_last.sel(strength=strength)
        for part in dataset.part.values:
            np.testing.assert_array_equal(np.float32(carried[part]), expected.sel(part=part))
        largest = float(abs(expected).max())
        np.testing.assert_allclose(carried["sum"], expected.sum("part"), atol=1e-6 * largest)
        drawn.append(tuple(carried["sum"]))
    assert len(set(drawn)) == len(steps)
    assert seen.errors + seen.warnings + seen.failed + seen.foreign == []


def on_map(dataset, measure, strength):
    """What the map shows, (layer, head)."""
    if measure in SCORES:
        return dataset.attention_score.sel(score=measure, input="repeated")
    if measure in dataset:
        return dataset[measure]
    t0 = dataset.attrs["t0"]
    compared = {"share_before": t0 - 1, "share_same": t0, "share_control": int(dataset.compared[0])}
    share = dataset.share.sel(strength=strength, compared=compared[measure])
    # Of every layer at the position behind its attention.
    return np.stack([share[2 * layer + 1, layer] for layer in range(share.sizes["layer"])])


@pytest.mark.parametrize("model", SHIPPED)
def test_map_shows_every_measure(seen, page, model):
    choose(page, model=model)
    names = [*explorer_heads.SCORES, *explorer_heads.EFFECTS, *explorer_heads.SHARES]
    options = page.locator("#explorer-measure option")
    assert [option.get_attribute("value") for option in options.all()] == names
    drawn = []
    for measure in names:
        for strength in ("limit", "finite"):
            choose(page, measure=measure, strength=strength)
            found = np.float32(page.evaluate(MAP))
            np.testing.assert_array_equal(found, on_map(study(model), measure, strength))
        drawn.append(found.tobytes())
    assert len(set(drawn)) == len(names)
    assert seen.errors + seen.warnings == []


def test_rings_and_buttons_are_the_heads_of_each_class(page):
    dataset = study(SHIPPED[0])
    choose(page, model=SHIPPED[0])
    rings = page.evaluate(
        """() => document.getElementById("explorer-map").data.slice(1).map(each =>
            [each.name, each.y.map((layer, k) => [layer, each.x[k]])])"""
    )
    for name in ("induction", "previous_token", "duplicate_token"):
        expected = np.argwhere((dataset.head_class == name).values).tolist()
        assert [heads for ring, heads in rings if ring == name] == [expected] * 2
        row = page.locator("#explorer-classes p", has_text=name.replace("_", " "))
        buttons = row.locator("button")
        assert buttons.all_text_contents() == [f"{layer}.{head}" for layer, head in expected]
        if expected:
            buttons.last.click()
            page.wait_for_selector(EVERYTHING_DRAWN)
            assert list(chosen(page)) == expected[-1]
            assert buttons.last.get_attribute("aria-pressed") == "true"
            assert (
                page.evaluate("document.activeElement.textContent")
                == row.locator("[aria-pressed=true]").text_content()
            )
    assert page.locator("#explorer-classes [aria-pressed=true]").count() == 1


@pytest.mark.parametrize("strength", ["limit", "finite"])
def test_summary_says_what_the_file_holds(page, strength):
    dataset = study(SHIPPED[0])
    choose(page, model=SHIPPED[0], measure="ablation_effect", strength=strength)
    classes = dataset.head_class.values
    for name in ("induction", ""):
        layer, head = (int(each) for each in np.argwhere(classes == name)[0])
        choose(page, layer=layer, head=head)
        text, one = page.inner_text("#explorer-summary"), dataset.isel(layer=layer, head=head)
        assert text.startswith(f"{REGISTRY[SHIPPED[0]].title}, head {layer}.{head}, ")
        assert f", {name or 'no class'}: " in text
        scores = one.attention_score.sel(score=["previous_token", "duplicate_token", "induction"])
        which = name or str(scores.sel(input="repeated").idxmax("score").values)
        assert name or f"largest score, {which.replace('_', ' ')}," in text
        score = scores.sel(score=which)
        error = one.attention_score_sem.sel(score=which, input="repeated")
        assert f"score {said(score.sel(input='repeated'), error)}, without" in text.replace(
            f"largest score, {which.replace('_', ' ')},", "score"
        )
        assert f"without repetition {said(score.sel(input='unrepeated'))}." in text
        t0 = dataset.attrs["t0"]
        share = one.share.sel(strength=strength, compared=t0 - 1)[2 * layer + 1]
        at = "in the limit" if strength == "limit" else f"at ε = {dataset.attrs['epsilon']:g}"
        assert f"{said(share)} {at}." in text
        effect = said(one.ablation_effect, one.ablation_effect_sem)
        assert text.endswith(f"changes by {effect}.")
        assert page.inner_text("#explorer-measure-now") == f"head {layer}.{head}: {effect}"
        for panel in PANELS:
            assert f"head {layer}.{head}" in page.get_attribute(f"#explorer-{panel}", "aria-label")
    assert page.get_attribute("#explorer-summary", "aria-live") == "polite"


def test_arrow_keys_move_on_the_map_and_stop_at_its_edge(page):
    dataset = study(SHIPPED[0])
    choose(page, model=SHIPPED[0], layer=0, head=1)
    page.focus("#explorer-head")
    press(page, "Tab")
    assert page.evaluate("document.activeElement.id") == "explorer-map"
    press(page, "ArrowUp")
    assert chosen(page) == (1, 1)
    press(page, "ArrowLeft", "ArrowDown", "ArrowDown", "ArrowLeft")
    assert chosen(page) == (0, 0)
    press(page, "ArrowRight")
    assert chosen(page) == (0, 1)
    choose(page, layer=dataset.sizes["layer"] - 1, head=dataset.sizes["head"] - 1)
    page.focus("#explorer-map")
    press(page, "ArrowUp", "ArrowRight")
    assert chosen(page) == (dataset.sizes["layer"] - 1, dataset.sizes["head"] - 1)
    frame = page.evaluate("document.getElementById('explorer-map').layout.shapes[0]")
    middle = (frame["y0"] + frame["y1"]) / 2, (frame["x0"] + frame["x1"]) / 2
    assert middle == pytest.approx(chosen(page))


def test_every_control_is_reached_by_the_tabulator(page):
    page.focus("#explorer-model")
    reached = ["explorer-model"]
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    names = ("model", "measure", "strength", "layer", "head", "map")
    assert reached == [f"explorer-{name}" for name in names]


def test_click_on_a_cell_selects_the_head(page):
    dataset = study(SHIPPED[0])
    layers, heads = dataset.sizes["layer"], dataset.sizes["head"]
    choose(page, model=SHIPPED[0], layer=0, head=0)
    plot = page.locator("#explorer-map .nsewdrag")
    plot.scroll_into_view_if_needed()
    layer, head = layers // 2, heads - 2
    where = plot.evaluate(
        """(plot, [layer, head]) => {
            const { x, y } = plot.getBoundingClientRect();
            const { xaxis, yaxis } = document.getElementById("explorer-map")._fullLayout;
            return [x + xaxis.d2p(head), y + yaxis.d2p(layer)];
        }""",
        [layer, head],
    )
    page.mouse.move(*where)
    page.wait_for_selector("#explorer-map .hoverlayer .hovertext")
    assert f"head {layer}.{head}" in page.locator("#explorer-map .hoverlayer").text_content()
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function(f"document.getElementById('explorer-layer').value === '{layer}'")
    page.wait_for_selector(EVERYTHING_DRAWN)
    assert chosen(page) == (layer, head)


def test_a_model_comes_with_its_heads_and_starts_at_the_strongest(page):
    for model in SHIPPED:
        dataset = study(model)
        choose(page, model=model)
        for name in ("layer", "head"):
            assert page.locator(f"#explorer-{name} option").count() == dataset.sizes[name]
        if len(SHIPPED) > 1:
            score = dataset.attention_score.sel(score="induction", input="repeated")
            assert float(score[chosen(page)]) == float(score.max())


def test_the_address_keeps_the_choice(browser, page):
    choose(page, model=SHIPPED[-1], measure="share_same", strength="finite", layer=1, head=1)
    expected = page.evaluate(TRACES, "carried")
    other = browser.new_page()
    other.goto(page.url)
    other.wait_for_selector(EVERYTHING_DRAWN)
    assert other.evaluate(TRACES, "carried") == expected
    assert other.url == page.url
    # Nonsense in an address is passed over.
    other.goto(f"{ADDRESS}#model=none&measure=some&layer=999&head=-1&strength=&other=1")
    other.reload()
    other.wait_for_selector(EVERYTHING_DRAWN)
    assert chosen(other) == (0, 0)
    assert REGISTRY[SHIPPED[0]].title in other.inner_text("#explorer-summary")
    other.close()


def test_buttons_of_the_page_set_it_up(page):
    buttons = page.locator("p > button[data-explorer*=measure]")
    assert buttons.count() == 3
    for k, expected in enumerate(("induction", "share_control", "share_before")):
        choose(page, measure="attribution")
        buttons.nth(k).click()
        page.wait_for_selector(EVERYTHING_DRAWN)
        assert page.input_value("#explorer-measure") == expected


@pytest.mark.parametrize("view", [View(1300, "light"), View(1300, "dark"), View(360, "light")])
def test_drawn_page_fits_and_has_no_accessibility_fault(browser, view):
    with visit(browser, PAGE, view) as seen:
        seen.page.wait_for_selector(EVERYTHING_DRAWN)
        widths = seen.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1]
        for panel in PANELS:
            drawn = seen.page.locator(f"#explorer-{panel} .main-svg").first.bounding_box()
            assert drawn["x"] >= 0
            assert drawn["x"] + drawn["width"] <= view.width
            assert drawn["width"] > 0.3 * view.width
        assert seen.errors + seen.warnings + seen.failed + seen.foreign == []
        faults = Axe().run(seen.page, "#explorer-root").response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in faults] == []


def test_book_without_studies_says_so(browser, tmp_path):
    """A copy of the page whose index names no model."""
    for name in ("_static", "book"):
        shutil.copytree(HTML / name, tmp_path / name)
    index = explorer_heads.scripts(tmp_path)[explorer_heads.INDEX]
    (tmp_path / "_static" / explorer_heads.INDEX).write_text(index, encoding="ascii")
    assert json.loads(index.partition(" = ")[2].rstrip(";\n"))["models"] == {}
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / PAGE).as_uri())
    page.wait_for_selector("#explorer-root[aria-busy=false]", state="attached")
    assert "No study of heads is shipped" in page.inner_text("#explorer-none")
    assert not page.locator("#explorer-root").is_visible()
    assert errors == []
    page.close()
