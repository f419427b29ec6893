"""Tokens and texts of one's own as input, from files to results, figures and the command line."""

import json
import sys
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tokenizers
import torch
import xarray as xr
from measured import MEASURE, few, half_a_unit, measured, scale
from messages import one_line
from tiny_models import CONTEXT, VOCABULARY, bridged, tiny_hf_model, tiny_model
from transformers import PreTrainedTokenizerFast
from universal_response import (
    Settings,
    cli,
    figures,
    inner_products,
    load_results,
    load_tokenizer,
    measure,
    measurement,
    models,
    read_text,
    read_tokens,
    results_for,
    results_for_text,
    save_results,
    tokens_of_text,
    verify,
)
from universal_response.metrics import METRICS
from universal_response.sequences import passages, token_labels

pytestmark = pytest.mark.slow

STRENGTHS = {"epsilons": (0.01, 0.05), "epsilon0": 0.05}
QUICK = STRENGTHS | {"linear": False}
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "it", "again", "$x$", "東京"]
TEXT = "the cat sat on the mat\n\na cat saw it\n"
FIRST, SECOND = [0, 1, 2, 3, 0, 5], [4, 1, 7, 8]
BOS = 50


def words(bos="<bos>", adds_bos=False):
    """A tokenizer that knows a few words, the white space before them apart."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    vocabulary |= {"\n": 30, "naïve\tword": 31, "<unk>": 32, "�": 33, "<bos>": BOS}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split("\n", "isolated"),
            tokenizers.pre_tokenizers.Split(" ", "removed"),
        ]
    )
    if adds_bos:
        model.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, BOS)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token="<unk>", bos_token=bos)


@pytest.fixture(scope="module")
def llama():
    """A tiny model in single precision, without a tokenizer."""
    return tiny_model("llama")


@pytest.fixture(scope="module")
def speaking():
    """The same with a tokenizer."""
    model = bridged(tiny_hf_model("llama"))
    model.tokenizer = words()
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model as a user's folder, with its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_hf_model("llama").save_pretrained(path)
    words().save_pretrained(path)
    return path


def written(tmp_path, content, name="input.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# texts -------------------------------------------------------------------------------------------


def test_passages_are_separated_by_blank_lines():
    text = "\n\none\ntwo \r\n \t\n\n  three\n"
    assert passages(text) == ["one\ntwo ", "  three"]
    assert passages(" \n\n\n") == []


def test_sequences_are_cut_to_the_shortest():
    tokens = tokens_of_text(TEXT, words())
    assert tokens.tolist() == [FIRST[:4], SECOND]
    assert tokens.dtype == np.int64


def test_sequences_are_cut_to_the_length_asked_for():
    assert tokens_of_text(TEXT, words(), length=3).tolist() == [FIRST[:3], SECOND[:3]]


def test_line_breaks_inside_a_passage_are_measured():
    assert tokens_of_text("the cat\nsat", words()).tolist() == [[0, 1, 30, 2]]


@pytest.mark.parametrize("adds_bos", [False, True])
def test_bos(adds_bos):
    tokenizer = words(adds_bos=adds_bos)
    without = tokens_of_text(TEXT, tokenizer, bos=False)
    first = tokens_of_text(TEXT, tokenizer, bos=True)
    by_itself = tokens_of_text(TEXT, tokenizer)
    assert without.tolist() == [FIRST[:4], SECOND]
    assert first.tolist() == [[BOS, *FIRST[:4]], [BOS, *SECOND]]
    assert np.array_equal(by_itself, first if adds_bos else without)


def test_a_block_is_repeated_after_the_bos_token():
    without = tokens_of_text(TEXT, words(), bos=False, repeat=True, length=3)
    first = tokens_of_text(TEXT, words(), bos=True, repeat=True, length=3)
    assert without.tolist() == [2 * FIRST[:3], 2 * SECOND[:3]]
    assert first.tolist() == [[BOS, *2 * FIRST[:3]], [BOS, *2 * SECOND[:3]]]


def test_a_tokenizer_without_bos_token():
    tokenizer = words(bos=None)
    assert tokens_of_text(TEXT, tokenizer).tolist() == [FIRST[:4], SECOND]
    with pytest.raises(ValueError, match=one_line("bos=True: .*--no-bos")):
        tokens_of_text(TEXT, tokenizer, bos=True)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "text: empty"),
        (" \n\n ", {}, "text: empty"),
        ("the cat\n\nmat", {}, "tokens: passage 2 has 1 of them"),
        ("mat", {"bos": True, "repeat": True}, "tokens: passage 1 has 1 of them"),
        (TEXT, {"length": 5}, "length=5: passage 2 has 4 tokens"),
        (TEXT, {"length": 1}, "length=1: "),
    ],
)
def test_bad_text_is_named(text, options, said):
    with pytest.raises(ValueError, match=one_line(said)):
        tokens_of_text(text, words(), **options)


def test_no_tokenizer():
    with pytest.raises(ValueError, match=one_line("tokenizer: .*--tokens")):
        tokens_of_text(TEXT, None)


def test_text_that_is_not_utf8(tmp_path):
    with pytest.raises(ValueError, match=one_line("file=.*: byte 3 is not UTF-8")):
        read_text(written(tmp_path, b"caf\xe9"))


def test_byte_order_mark_is_no_text(tmp_path):
    assert read_text(written(tmp_path, b"\xef\xbb\xbfcaf\xc3\xa9")) == "café"


# files of token ids ------------------------------------------------------------------------------


def test_read_tokens(tmp_path):
    path = written(tmp_path, "\n3 1  4\t1\n5 9 2 6\n\n")
    assert read_tokens(path).tolist() == [[3, 1, 4, 1], [5, 9, 2, 6]]
    assert read_tokens(path).dtype == np.int64
    assert read_tokens(path, length=2).tolist() == [[3, 1], [5, 9]]
    assert read_tokens(path, repeat=True, length=2).tolist() == [[3, 1, 3, 1], [5, 9, 5, 9]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("1 2 3\n\n4 5", "line 3 has 2 tokens, line 1 has 3"),
        ("1 2\n3 4.0", "'4.0' in line 2"),
        ("1, 2", "'1,' in line 1"),
        ("1 -2", "'-2' in line 1"),
        ("1 ٣", "'٣' in line 1"),
        (f"1 {10**19}", f"'{10**19}' in line 1"),
        (b"1 2\xff", "byte 3 is not UTF-8"),
    ],
)
def test_bad_file_of_tokens_is_named(tmp_path, content, said):
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=one_line(f"file={path}: {said}")):
        read_tokens(path)


def test_a_single_token_is_too_few(tmp_path):
    with pytest.raises(ValueError, match=one_line("tokens: sequence 1 has 1 of them")):
        read_tokens(written(tmp_path, "7\n8\n"))


# settings ----------------------------------------------------------------------------------------


def test_settings_for_tokens():
    settings = Settings.for_tokens(np.array([[3, 1, 4], [1, 5, 9]]), seed=5, **STRENGTHS)
    assert settings.tokens == ((3, 1, 4), (1, 5, 9))
    assert (settings.batch, settings.t0, settings.seed) == (2, 0, 0)
    assert settings.input == "tokens"
    assert settings == Settings.for_tokens([[3, 1, 4], [1, 5, 9]], **STRENGTHS)
    assert hash(settings) is not None


def test_settings_for_text():
    settings = Settings.for_text(TEXT, words(), bos=True, repeat=True, **STRENGTHS)
    assert settings.tokens == ((BOS, *2 * FIRST[:4]), (BOS, *2 * SECOND))
    assert (settings.batch, settings.t0) == (2, 4)
    assert settings.input == "text"
    assert Settings.for_text(TEXT, words()).t0 == 0
    assert Settings().input == "repeated random tokens"


@pytest.mark.parametrize(
    ("tokens", "t0", "said"),
    [
        ([], 0, "tokens: give at least one"),
        ([[]], 0, "tokens: give at least one"),
        ([[1]], 0, "tokens: give at least one"),
        ([[1, 2], [3]], 0, "tokens: sequence 1 has 1"),
        ([[1, 2], [3, 4, 5]], 0, "tokens: sequence 1 has 3"),
        ([[1.0, 2.0]], 0, "tokens: not an array"),
        ([1, 2, 3], 0, "tokens: not an array"),
        (7, 0, "tokens: not an array"),
        (["ab"], 0, "tokens: not an array"),
        ([[1, 2, 1, 2], [1, 2, 1, 3]], 2, "t0=2: sequence 1 does not"),
        ([[1, 2, 1, 2]], 3, "t0=3: sequence 0 does not"),
        ([[1, 1, 1]], 1, "t0=1: sequence 0 does not"),
        ([[1, 1, 1]], -1, "t0=-1: sequence 0 does not"),
    ],
)
def test_bad_tokens_are_named(tokens, t0, said):
    with pytest.raises(ValueError, match=one_line(said)):
        Settings.for_tokens(tokens, t0)


def test_a_block_may_stand_anywhere():
    assert Settings.for_tokens([[9, 1, 2, 3, 1, 2, 3, 8]], t0=3).t0 == 3


def test_random_tokens_still_need_a_block():
    with pytest.raises(ValueError, match=one_line("t0=0: ")):
        Settings(t0=0)


# measurements ------------------------------------------------------------------------------------

ODD = Settings.for_tokens([[BOS, *2 * FIRST[:4]], [BOS, *2 * SECOND]], t0=4, **STRENGTHS)
PROMPT = Settings.for_tokens([FIRST], **STRENGTHS)


@pytest.mark.parametrize("settings", [ODD, PROMPT], ids=["odd", "prompt"])
def test_the_tokens_given_are_measured(llama, settings):
    dataset = measured(llama, settings)
    assert dataset.tokens.values.tolist() == [list(row) for row in settings.tokens]
    t = len(settings.tokens[0])
    assert dataset.sizes["token"] == dataset.sizes["delta_j"] == dataset.sizes["source"] == t
    assert dataset.attrs["t0"] == settings.t0
    assert dataset.attrs["batch"] == len(settings.tokens)
    assert dataset.attrs["input"] == "tokens"
    assert dataset.attrs["seed"] == "none"
    products = inner_products(torch.tensor(settings.tokens), llama, [0.05])
    expected = METRICS["delta"](products)[-1, 0].mean(0)
    # What is stored is rounded to 16 bits.
    np.testing.assert_allclose(dataset.matrix.sel(metric="delta"), expected, rtol=1e-4)


def test_peak_of_a_repeated_block(llama):
    dataset = measured(llama, ODD)
    last = dataset.last_sum.sel(delta_j=3)
    np.testing.assert_array_equal(dataset.peak_sum.isel(position=-1), last)
    assert dataset.window.values.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert "linear" in dataset


def test_no_peak_where_nothing_repeats(llama):
    dataset = measured(llama, PROMPT)
    assert not {"peak_sum", "window_sum", "linear_peak_sum", "pairs"} & set(dataset)
    assert "window" not in dataset.coords


def test_odd_sequences_resume_and_chunk(llama, folder, tmp_path):
    """Shards take part as for random tokens."""
    path = tmp_path / "out.nc"
    chunked = measurement.measure_into(path, str(folder), replace(ODD, sequences_per_chunk=1))
    whole = measure(str(folder), ODD)
    at = {"metric": "delta"}
    # Rounding of single precision, in another order.
    np.testing.assert_allclose(
        chunked.response.sel(at), whole.response.sel(at), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([[1, 2, VOCABULARY]], f"tokens: id {VOCABULARY} is outside"),
        ([[1, -2, 3]], "tokens: id -2 is outside"),
        ([[1, 2] * CONTEXT], f"tokens: sequences of {2 * CONTEXT} tokens exceed"),
    ],
)
def test_tokens_the_model_cannot_take(llama, tokens, said):
    with pytest.raises(ValueError, match=one_line(said)):
        measure(llama, Settings.for_tokens(tokens))


def test_odd_sequences_may_fill_the_context(llama):
    tokens = np.arange(CONTEXT - 1)[None] % VOCABULARY
    options = {"epsilons": (0.05,), "linear": False}
    assert measure(llama, Settings.for_tokens(tokens, **options)).sizes["token"] == CONTEXT - 1


@pytest.mark.parametrize("settings", [ODD, PROMPT], ids=["odd", "prompt"])
def test_round_trip(speaking, tmp_path, settings):
    dataset = measured(speaking, settings)
    loaded = load_results(save_results(dataset, tmp_path / "a.nc"))
    assert set(loaded.variables) == set(dataset.variables)
    for name, variable in dataset.variables.items():
        assert loaded[name].dims == variable.dims
        if variable.dtype.kind in "OUT" or name == "tokens":
            assert loaded[name].values.tolist() == variable.values.tolist()
        else:
            known = variable.dtype == np.float32 and measurement.stored_bits(name)
            allowed = 1.001 * half_a_unit(name) * scale(dataset, name) if known else 0.0
            off = abs(loaded[name] - dataset[name])
            assert ((off <= allowed) | dataset[name].isnull()).all(), name
    assert measurement.settings_of(loaded) == settings
    assert verify(loaded, speaking).agrees
    # What was read can be written again.
    assert load_results(save_results(loaded, tmp_path / "b.nc")).identical(loaded)


def test_verification_sees_other_tokens(llama):
    dataset = measured(llama, ODD)
    changed = dataset.copy(deep=True)
    changed["tokens"] = dataset.tokens[::-1]
    assert verify(dataset, llama).agrees
    assert not verify(changed, llama).agrees


def test_a_changed_label_is_found(speaking, tmp_path):
    dataset = measured(speaking, PROMPT).assign_attrs(content_sha256="")
    path = save_results(dataset, tmp_path / "a.nc")
    loaded = load_results(path)
    loaded["token_label"] = loaded.token_label.str.replace("cat", "dog")
    path.unlink()
    loaded.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match="digest"):
        load_results(path)


def test_random_tokens_have_no_labels(speaking):
    dataset = measure(speaking, Settings(t0=3, batch=1, **STRENGTHS))
    assert "token_label" not in dataset
    assert "text_sha256" not in dataset.attrs
    assert dataset.attrs["seed"] == 0
    assert measurement.settings_of(dataset).tokens is None


# labels ------------------------------------------------------------------------------------------


def test_labels_are_the_tokens_with_visible_white_space():
    tokens = np.array([[0, 11, 30, 31, BOS], [10, 1, 33, 90, 2]])
    assert token_labels(tokens, words()).tolist() == [
        ["the", "東京", "↵", "naïve⇥word", "<bos>"],
        ["$x$", "cat", "[33]", "[90]", "sat"],
    ]


class Spaced:
    """Decodes to whatever stands for a token."""

    def decode(self, ids, **options):
        return [" the", "a\u00a0b", "\x1b", "\u200d"][ids[0]]


def test_labels_hold_no_character_that_cannot_be_seen():
    found = token_labels(np.array([[0, 1, 2, 3]]), Spaced())
    assert found.tolist() == [["␣the", r"a\xa0b", r"\x1b", r"\u200d"]]


# results that are there already ------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Settings of all measurements made, of which a part is kept."""
    calls = []
    whole = MEASURE.measure

    def counting(model, settings, *arguments):
        calls.append(settings)
        return few(whole(model, settings, *arguments))

    monkeypatch.setattr(MEASURE, "measure", counting)
    return calls


def test_results_of_tokens_are_found_again(folder, tmp_path, counted):
    repeated = Settings.for_tokens([2 * FIRST], t0=6, **QUICK)
    others = [
        repeated,
        replace(repeated, t0=0),
        Settings.for_tokens([2 * FIRST[::-1]], t0=6, **QUICK),
        Settings(t0=6, batch=1, **QUICK),
    ]
    for settings in 2 * others:
        found = results_for(str(folder), settings, tmp_path / "runs")
        assert measurement.settings_of(found) == settings
    assert counted == others
    assert len(list((tmp_path / "runs").glob("*.nc"))) == len(others)


def test_results_of_a_text_are_found_without_a_tokenizer(folder, tmp_path, counted, monkeypatch):
    options = QUICK | {"bos": True, "repeat": True, "length": 3}
    first = results_for_text(str(folder), TEXT, tmp_path / "runs", **options)
    assert first.attrs["input"] == "text"
    assert first.token_label.values.tolist() == [
        ["<bos>", *2 * ["the", "cat", "sat"]],
        ["<bos>", *2 * ["a", "cat", "saw"]],
    ]
    assert first.attrs["t0"] == 3
    with monkeypatch.context() as patch:
        patch.setattr(models, "load_tokenizer", pytest.fail)
        again = results_for_text(str(folder), TEXT, "nowhere", [tmp_path / "runs"], **options)
        xr.testing.assert_identical(again.drop_attrs(deep=False), first.drop_attrs(deep=False))
    changes = [{"bos": False}, {"repeat": False}, {"length": 4}, {"epsilon0": 0.01}]
    for change in changes:
        results_for_text(str(folder), TEXT, tmp_path / "runs", **options | change)
    results_for_text(str(folder), TEXT.upper(), tmp_path / "runs", **options)
    assert len(counted) == 2 + len(changes)


def test_the_same_tokens_as_text_and_as_ids_are_measured_once(folder, tmp_path, counted):
    results_for(str(folder), PROMPT, tmp_path / "runs")
    found = results_for_text(str(folder), "the cat sat on the mat", tmp_path / "runs", **STRENGTHS)
    assert measurement.settings_of(found) == PROMPT
    assert len(counted) == 1


def test_load_tokenizer(folder, tmp_path):
    assert load_tokenizer(str(folder)).bos_token == "<bos>"
    bare = tmp_path / "bare"
    tiny_hf_model("llama").save_pretrained(bare)
    assert load_tokenizer(str(bare)) is None
    assert "token_label" not in measure(str(bare), PROMPT)
    with pytest.raises(ValueError, match=one_line("tokenizer: ")):
        results_for_text(str(bare), TEXT, tmp_path / "runs")


# figure ------------------------------------------------------------------------------------------


def tick_labels(figure):
    axes = figure.axes[0]
    return [
        [label.get_text() for label in labels]
        for labels in (axes.get_xticklabels(), axes.get_yticklabels())
    ]


@pytest.fixture
def labelled(speaking):
    return measured(speaking, Settings.for_tokens([[0, 11, 30, 31, 10, 10, 33, 1]], **STRENGTHS))


@pytest.mark.parametrize("metric", ["delta", "phi", "theta_source"])
def test_axes_show_the_tokens(labelled, metric, tmp_path, recwarn):
    figure = figures.prompt_matrix(labelled, metric)
    figures.save(figure, tmp_path, "prompt")
    expected = ["the", "□□", "↵", "naïve⇥word", "$x$", "$x$", "[33]", "cat"]
    assert tick_labels(figure) == [expected, expected]
    drawn = figure.axes[0].images[0].get_array()
    matrix = labelled.matrix.sel(metric=metric).values
    np.testing.assert_array_equal(drawn[np.triu_indices(8)], matrix[np.triu_indices(8)])
    np.testing.assert_array_equal(drawn.mask, np.tri(8, k=-1))
    assert not [str(warning.message) for warning in recwarn if "lyph" in str(warning.message)]
    # What stands between dollar signs is drawn as it is, dollar signs included: three letters wide.
    width = {t.get_text(): t.get_window_extent().width for t in figure.axes[0].get_yticklabels()}
    assert width["$x$"] > 0.8 * width["the"]
    plt.close(figure)


def test_long_labels_are_cut(labelled):
    labelled["token_label"] = labelled.token_label.str.replace("cat", "internationalisation")
    figure = figures.prompt_matrix(labelled)
    assert tick_labels(figure)[0][-1] == "internation…"
    plt.close(figure)


def test_token_ids_where_there_are_no_labels(llama):
    figure = figures.prompt_matrix(measured(llama, PROMPT))
    assert tick_labels(figure)[0] == [str(token) for token in FIRST]
    plt.close(figure)


def test_several_sequences_have_places_on_the_axes_unless_one_is_named(speaking):
    dataset = measured(speaking, ODD)
    figure = figures.prompt_matrix(dataset)
    assert tick_labels(figure)[0] == [str(place) for place in range(9)]
    assert "mean over 2 sequences" in figure.axes[0].get_ylabel()
    named = figures.prompt_matrix(dataset, sequence=1)
    assert tick_labels(named)[1] == ["<bos>", *2 * ["a", "cat", "saw", "it"]]
    with pytest.raises(ValueError, match=one_line("sequence=2: ")):
        figures.prompt_matrix(dataset, sequence=2)
    plt.close("all")


@pytest.mark.parametrize(("t", "named"), [(2, 2), (40, 40), (130, 130), (400, 134)])
def test_labels_can_be_read(labelled, t, named):
    """From a certain number on only every k-th token is named."""
    picked = np.arange(t) % 8
    many = xr.Dataset(
        {
            "matrix": (("metric", "source", "target"), np.full((1, t, t), 0.1)),
            "tokens": labelled.tokens[:, picked],
            "token_label": labelled.token_label[:, picked],
        },
        {"metric": ["delta"]},
        labelled.attrs,
    )
    many["matrix"] = many.matrix * np.arange(1, t + 1)
    figure = figures.prompt_matrix(many)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == named
    assert all(label.get_fontsize() > 4 for label in figure.axes[0].get_yticklabels())
    for above, below in pairwise(boxes):
        # Rows of text touch at most in their ascenders: half a point.
        assert above.y0 - below.y1 > -0.5 * figure.dpi / 72
    plt.close(figure)


# the command -------------------------------------------------------------------------------------


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of `universal-response measure` with these arguments."""
    capsys.readouterr()  # progress bars of what was done before
    monkeypatch.setattr(sys, "argv", ["universal-response", "measure", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_measure_a_text(monkeypatch, capsys, folder, tmp_path):
    out, text = tmp_path / "out.nc", written(tmp_path, TEXT)
    code, said, err = run(
        monkeypatch, capsys, out, "--model", folder, "--text", text, "--bos", "--repeat",
        "--length", 3, "--epsilons", "0.01,0.05", "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    assert "text, 2 sequences of 7 tokens" in said
    dataset = load_results(out)
    expected = Settings.for_text(TEXT, words(), bos=True, repeat=True, length=3, **STRENGTHS)
    assert measurement.settings_of(dataset) == expected
    assert dataset.token_label[0].values.tolist() == ["<bos>", *2 * ["the", "cat", "sat"]]
    assert json.loads(dataset.attrs["architecture"])["vocabulary"] == VOCABULARY
    monkeypatch.setattr(sys, "argv", ["universal-response", "verify", str(out)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 0
    assert "agrees" in capsys.readouterr().out


def test_a_text_is_not_repeated_unless_asked(monkeypatch, capsys, folder, tmp_path):
    out, text = tmp_path / "out.nc", written(tmp_path, TEXT)
    code, _, err = run(
        monkeypatch, capsys, out, "--model", folder, "--text", text, "--epsilons", "0.05"
    )
    assert code == 0, err
    dataset = load_results(out)
    assert dataset.tokens.values.tolist() == [FIRST[:4], SECOND]
    assert dataset.attrs["t0"] == 0


def test_measure_tokens(monkeypatch, capsys, folder, tmp_path):
    out, ids = tmp_path / "out.nc", written(tmp_path, "3 1 4 1 5\n")
    code, said, err = run(
        monkeypatch, capsys, out, "--model", folder, "--tokens", ids, "--repeat", "--epsilons", 0.05
    )
    assert code == 0, err
    assert "tokens, 1 sequences of 10 tokens" in said
    dataset = load_results(out)
    assert dataset.tokens.values.tolist() == [2 * [3, 1, 4, 1, 5]]
    assert dataset.attrs["t0"] == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "good", "--tokens", "ids"], "text, tokens: give one of the two"),
        (["--text", "good", "--t0", "64"], "t0: only for random tokens"),
        (["--tokens", "ids", "--batch", "32"], "batch: only for random tokens"),
        (["--tokens", "ids", "--seed", "0"], "seed: only for random tokens"),
        (["--tokens", "ids", "--seed", "-1", "--sources", "2"], "seed=-1: use a seed >= 0"),
        (["--tokens", "ids", "--no-bos"], "bos: only with --text"),
        (["--tokens", "ids", "--gap", "2"], "gap: only for random tokens, not with --tokens"),
        (["--text", "words", "--later", "other"], "later: only for random tokens, not with"),
        (["--perturb", "swap"], "perturb=swap: use scaling, direction:SEED or swap:TOKEN"),
        (["--perturb", "direction:up"], "perturb=direction:up: use scaling, direction:SEED or"),
        (["--copies", "1"], "copies=1: use at least 2"),
        (["--repeat"], "repeat: only with --text or --tokens"),
        (["--length", "8"], "length: only with --text or --tokens"),
        (["--text", "nowhere"], "file=nowhere: cannot be read"),
        (["--text", "empty"], "text: empty"),
        (["--text", "latin"], "file="),
        (["--text", "good", "--length", "99"], "length=99: passage 2 has 4 tokens"),
        (["--tokens", "good"], "file="),
        (["--tokens", "large"], f"tokens: id {VOCABULARY} is outside"),
        (["--tokens", "single"], "tokens: sequence 1 has 1"),
    ],
)
def test_bad_input_is_named_in_one_line(monkeypatch, capsys, folder, tmp_path, arguments, said):
    place = tmp_path / "files"
    place.mkdir()
    written(place, TEXT, "good")
    written(place, "1 2 3\n", "ids")
    written(place, "", "empty")
    written(place, b"caf\xe9", "latin")
    written(place, f"1 {VOCABULARY}", "large")
    written(place, "1", "single")
    monkeypatch.chdir(place)
    before = sorted(tmp_path.iterdir())
    code, _, err = run(
        monkeypatch, capsys, tmp_path / "new" / "out.nc", "--model", folder, *arguments
    )
    assert code == 2
    # Before it there can be the progress bar of loading.
    assert err.splitlines()[-1].startswith(f"error: {said}")
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before
