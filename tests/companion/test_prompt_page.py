"""The page of a prompt that is mailed: whole, self-contained, and safe with any prompt."""

import json
import re
from html.parser import HTMLParser

import pytest
from messages import one_line
from shipped import shipped_results
from universal_response.companion import explorer_prompt, prompt_page

TITLE = "SmolLM2-135M-Instruct (4 bit)"

# What would break a page: ends of scripts, entities, line ends that older scripts do not take.
HOSTILE = "</script><script>alert(1)</script>&lt;<!-- \u2028\u2029 \" ' `${1}` {{ 7 }}"


class Parsed(HTMLParser):
    """Elements with their attributes, and the text of each kind."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self._open = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.setdefault(self._open[-1] if self._open else "", []).append(data)


@pytest.fixture(scope="module")
def dataset():
    return shipped_results("prompt-smollm2-135m")


@pytest.fixture(scope="module")
def page(dataset):
    return prompt_page.prompt_page(dataset, "The keeper & the lighthouse")


@pytest.fixture(scope="module")
def attacked(dataset):
    """The page of a prompt whose first token is an attack as well."""
    labels = dataset.token_label.astype(object)
    labels[0, 0] = HOSTILE
    return prompt_page.prompt_page(dataset.assign(token_label=labels), HOSTILE)


def data_of(page):
    script = "".join(Parsed(page).text["script"])
    return json.JSONDecoder().raw_decode(script.removeprefix("window.PROMPT_MAP = "))[0]


def test_says_what_it_is(page, dataset):
    parsed = Parsed(page)
    assert parsed.text["title"] == [f"{TITLE}: The keeper & the lighthouse"]
    assert "".join(parsed.text["blockquote"]) == "The keeper & the lighthouse"
    assert "arxiv.org/abs/2411.07071" in page
    assert data_of(page)["made"][-1] == ["on", dataset.attrs["created"][:10]]
    assert "5·10⁻⁴" in page


def test_holds_the_numbers_script_and_look_of_the_book(page, dataset):
    expected = json.loads(json.dumps(explorer_prompt.prompt_data(dataset)))
    assert data_of(page) == expected
    for name in ("prompt_map.js", "prompt_map.css"):
        assert explorer_prompt.page_file(name) in page


@pytest.mark.parametrize("which", ["page", "attacked"])
def test_loads_nothing(request, which):
    page = request.getfixturevalue(which)
    parsed = Parsed(page)
    for tag, attributes in parsed.elements:
        assert "src" not in attributes
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert not [name for name in attributes if name.startswith("on")]
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("a", "https://arxiv.org/abs/2411.07071")
    # Should a browser try all the same, the page forbids it.
    policy = [a["content"] for tag, a in parsed.elements if a.get("http-equiv")]
    assert policy == ["default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'"]
    assert [tag for tag, _ in parsed.elements].count("script") == 2


def test_what_a_prompt_holds_stays_text(attacked):
    parsed = Parsed(attacked)
    assert "".join(parsed.text["blockquote"]) == HOSTILE
    assert "<script>alert" not in attacked
    assert data_of(attacked)["tokens"][0] == HOSTILE
    data = re.search(r"PROMPT_MAP = (.*?);</script>", attacked)[1]
    assert data.isascii()
    assert not set("<>&'") & set(data)


def test_a_long_prompt_has_a_short_title(dataset):
    page = prompt_page.prompt_page(dataset, "word\n" * 50)
    (title,) = Parsed(page).text["title"]
    assert title.endswith("word…")
    assert len(title) <= len(f"{TITLE}: ") + prompt_page.TITLE_LENGTH


def test_written_whole_or_not_at_all(dataset, tmp_path, monkeypatch):
    path = prompt_page.write_page(dataset, "a\r\nb\u2028", tmp_path / "page.html")
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    before = path.read_bytes()
    assert before.decode() == prompt_page.prompt_page(dataset, "a\r\nb\u2028")
    assert len(before) < 1.5e6

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(prompt_page.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        prompt_page.write_page(dataset, "another", path)
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert path.read_bytes() == before


def test_nothing_is_written_of_results_without_maps(dataset, tmp_path):
    with pytest.raises(ValueError, match=one_line("map: not in these results")):
        prompt_page.write_page(dataset.drop_vars("map"), "a b", tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
