"""The page of a prompt from the command line, whole or not at all."""

import json
import math

import pytest
import tokenizers
from command_line import run
from messages import one_line
from tiny_models import LAYERS, tiny_hf_model
from transformers import PreTrainedTokenizerFast
from universal_response import Settings, companion, measurement, models
from universal_response.companion import prompt_page

# Words of the made-up tokenizer, which splits at spaces.
WORDS = ["the", "<script>&", "a\u2028b", "cat", "<unk>", "<bos>"]
TEXT = "the <script>& cat a\u2028b the"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model as a user's folder, with a tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_hf_model("llama").save_pretrained(path)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "removed")
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<bos>"
    ).save_pretrained(path)
    return path


def data_in(page):
    start = page.index("window.PROMPT_MAP = ") + len("window.PROMPT_MAP = ")
    return json.JSONDecoder().raw_decode(page[start:])[0]


@pytest.mark.parametrize("given", ["text", "file"])
def test_a_page_of_a_text_or_a_file(monkeypatch, capsys, folder, tmp_path, given):
    out, written = tmp_path / "page.html", tmp_path / "prompt.txt"
    written.write_text(TEXT, encoding="utf-8")
    prompt = ["--text", TEXT] if given == "text" else ["--file", written]
    options = ["--out", out, "--model", folder, "--epsilon0", 0.02, "--device", "cpu", "--bos"]
    code, said, err = run(monkeypatch, capsys, "prompt", *prompt, *options)
    assert code == 0, err
    assert said.startswith(f"{out}: {folder}, 6 tokens at {2 * LAYERS + 1} positions, ")
    page = out.read_text(encoding="utf-8")
    found = data_in(page)
    assert found["tokens"] == ["<bos>", "the", "<script>&", "cat", r"a\u2028b", "the"]
    assert found["epsilon0"] == 0.02
    assert "<script>&" not in page
    assert "<blockquote>the &lt;script&gt;&amp; cat a\u2028b the</blockquote>" in page
    # The numbers are those of a measurement with these settings.
    settings = Settings.for_tokens([[5, 0, 1, 3, 2, 0]], epsilons=(0.02,), epsilon0=0.02)
    expected = companion.explorer_prompt.prompt_data(measurement.measure(str(folder), settings))
    assert (found["finite"], found["limit"]) == (expected["finite"], expected["limit"])
    assert {each.name for each in tmp_path.iterdir()} == {"page.html", "prompt.txt"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "text, file: give one of the two"),
        (["--text", "a b", "--file", "prompt.txt"], "text, file: give one of the two"),
        (["--text", ""], "text: empty; give at least one passage of two tokens"),
        (["--text", " \n\t\n "], "text: empty; give at least one passage of two tokens"),
        (["--file", "empty.txt"], "text: empty; give at least one passage of two tokens"),
        (["--text", "one\n\ntwo"], "text: 2 passages; a page shows one, leave blank lines out"),
        (["--text", "prompt.txt"], "text=prompt.txt: is a file; give it with --file, or the text"),
        (["--file", "nowhere.txt"], "file=nowhere.txt: cannot be read"),
        (["--file", "latin.txt"], "file=latin.txt: byte 3 is not UTF-8 text"),
        (["--text", "a b", "--out", "."], "out=.: is a folder; give the name of a file in it"),
        (
            ["--text", "a b", "--out", "new/page.html"],
            "out=new/page.html: there is no folder new; make it, or choose another",
        ),
        (["--text", "a b", "--out", "prompt.txt/page.html"], "out=prompt.txt: "),
        (["--text", "a b", "--epsilon0", "0"], "epsilon0=0: is outside (0, 1]"),
        (["--text", "a b", "--epsilon0", "1.5"], "epsilon0=1.5: is outside (0, 1]"),
        (["--text", "a b", "--epsilon0", "nan"], "epsilon0=nan: is outside (0, 1]"),
        (["--text", "a b", "--dtype", "int8"], "dtype=int8: choose one of"),
        (["--text", "a b", "--device", "toaster"], "device=toaster: choose auto"),
        (["--text", "a b", "--model", "gpt-5"], "model=gpt-5: neither a registered name"),
    ],
)
def test_bad_input_is_named_in_one_line(monkeypatch, capsys, tmp_path, arguments, said):
    """Before anything of a model is read."""
    monkeypatch.setattr(models, "load_tokenizer", pytest.fail)
    (tmp_path / "prompt.txt").write_text("a b")
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    out = [] if "--out" in arguments else ["--out", "page.html"]
    code, _, err = run(monkeypatch, capsys, "prompt", *arguments, *out)
    assert code == 2
    assert err.startswith(f"error: {said}")
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cat"], "tokens: passage 1 has 1 of them; give at least 2"),
        (["cat"] * 65, "text: 65 tokens; a map of tiny is kept up to 64, shorten the text"),
    ],
)
def test_too_few_and_too_many_tokens_are_told_without_the_weights(
    monkeypatch, capsys, folder, tmp_path, words, said
):
    monkeypatch.setattr(measurement, "measure", pytest.fail)
    options = ["--out", tmp_path / "page.html", "--model", folder]
    code, _, err = run(monkeypatch, capsys, "prompt", "--text", " ".join(words), *options)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {said}"
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_tokenizer(monkeypatch, capsys, tmp_path):
    options = ["--out", tmp_path / "page.html", "--model", "gpt2-induction"]
    code, _, err = run(monkeypatch, capsys, "prompt", "--text", "a b", *options)
    assert code == 2
    assert err == "error: model=gpt2-induction: has no tokenizer for a text; choose one that has\n"


def test_the_longest_text_keeps_its_map_and_a_longer_one_does_not():
    """As `measure` decides: five metrics at every position of all pairs, up to 2^21 numbers."""
    for layers, expected in ((30, 82), (18, 106), (48, 65)):
        longest = measurement.longest_mapped(layers)
        assert longest == expected
        numbers = [5 * (2 * layers + 1) * t**2 for t in (longest, longest + 1)]
        assert numbers[0] <= 1 << 21 < numbers[1]
        assert longest == math.floor(math.sqrt((1 << 21) / 5 / (2 * layers + 1)))


def test_a_text_as_long_as_the_map_is_accepted():
    for t in (82, 83):
        settings = Settings.for_tokens([list(range(t))])
        if t == 82:
            measurement.check_mapped("smollm2-135m", settings)
        else:
            with pytest.raises(ValueError, match=one_line("text: 83 tokens; a map of SmolLM2")):
                measurement.check_mapped("smollm2-135m", settings)


def test_nothing_half_written_is_left(monkeypatch, capsys, folder, tmp_path):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(prompt_page.os, "replace", full)
    options = ["--out", tmp_path / "page.html", "--model", folder]
    code, _, err = run(monkeypatch, capsys, "prompt", "--text", "the cat", *options)
    assert code == 2
    assert err.splitlines()[-1] == "error: No space left on device"
    assert list(tmp_path.iterdir()) == []
