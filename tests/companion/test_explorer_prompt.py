"""The map of a prompt: what a browser reads is what the results file holds."""

import re

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from messages import one_line
from scripts import unpacked, value_of
from shipped import RESULTS, shipped_results
from universal_response import figures, models, response
from universal_response.companion import explorer_prompt

T, POSITIONS = 58, 61


@pytest.fixture(scope="module")
def dataset():
    return shipped_results("prompt-smollm2-135m")


@pytest.fixture(scope="module")
def data(dataset):
    return explorer_prompt.prompt_data(dataset)


def of_pairs(values):
    """The entries j >= i, row by row, in plain words."""
    return np.array([[at[i, j] for i in range(T) for j in range(i, T)] for at in values])


@pytest.mark.parametrize("name", ["finite", "limit"])
def test_numbers_are_those_of_the_file_as_the_page_says(dataset, data, name):
    found = unpacked(data[name]).reshape(POSITIONS, -1)
    if name == "finite":
        expected = of_pairs(dataset["map"].sel(metric="delta").values) / np.float32(0.05)
        # The file's own rounding and one more, by half a unit in the tenth bit.
        np.testing.assert_allclose(found, expected, rtol=5e-4)
    else:
        np.testing.assert_array_equal(
            found, of_pairs(dataset.linear_map.sel(metric="delta").values)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_measured_numbers_are_rounded_as_in_a_file(dataset, dtype):
    rng = np.random.default_rng(0)
    noise = xr.DataArray(
        rng.uniform(0.5, 2, (POSITIONS, T, T)), dims=("position", "source", "target")
    )
    exact = dataset.assign(
        {name: (dataset[name] * noise).astype(dtype) for name in ("map", "linear_map")}
    )
    data = explorer_prompt.prompt_data(exact)
    for name, values in response.limit_maps(exact)[["finite", "limit"]].items():
        found, expected = unpacked(data[name]).reshape(POSITIONS, -1), of_pairs(values.values)
        off = abs(found / np.where(expected > 0, expected, 1) - 1)[expected > 0]
        assert 1e-4 < off.max() < 5e-4
        assert (found[expected == 0] == 0).all()


def test_a_page_of_the_longest_prompt_can_be_mailed(data):
    # Two numbers a pair, and the pairs of the longest prompt that keeps a map are 2^21 / 5 / 2.
    packed = len(data["finite"]) + len(data["limit"])
    numbers = 2 * POSITIONS * T * (T + 1) / 2
    assert packed < 0.5e6
    assert packed / numbers * (1 << 21) / 5 < 1.1e6


def test_axes_and_words(dataset, data):
    assert data["tokens"] == list(dataset.token_label.values[0])
    assert len(data["position"]) == POSITIONS
    assert data["position"][:3] == ["transformer input", "attention of layer 0", "MLP of layer 0"]
    assert data["title"] == models.REGISTRY["smollm2-135m"].title
    assert data["epsilon0"] == 0.05
    made = dict(data["made"])
    assert made["weights"] == "Q4_1, sha256 b179c9523d0e"
    assert made["strength"] == "ε₀ = 0.05, and the exact limit ε → 0"
    assert made["computed in"].startswith("float32, on cpu")
    commit = dataset.attrs["git_commit"][:7]
    assert made["with"] == f"universal-response 0.1.0, commit {commit}"
    assert made["on"] == dataset.attrs["created"][:10]


def test_a_folder_of_the_user_is_not_told(dataset):
    data = explorer_prompt.prompt_data(dataset.assign_attrs(model="/home/someone/tiny"))
    assert "someone" not in str({name: data[name] for name in ("title", "made", "tokens")})


def test_colours_are_those_of_the_figure(dataset, data):
    norms = figures.map_norms(response.limit_maps(dataset))
    maps = (figures.colormap("delta"), mpl.colormaps[figures.RATIO_COLOURS])
    for name, norm, colours in zip(("response", "ratio"), norms, maps, strict=True):
        scale = data["scales"][name]
        # They are written with four digits.
        np.testing.assert_allclose(scale["range"], (norm.vmin, norm.vmax), rtol=1e-3)
        places = np.linspace(0, 1, len(scale["colours"]))
        assert scale["colours"] == [to_hex(colours(place)) for place in places]


def test_several_passages_and_results_without_maps_are_refused(dataset):
    twice = xr.concat([dataset[["tokens"]]] * 2, "sequence")
    with pytest.raises(ValueError, match=one_line("text: 2 passages; a page shows one")):
        explorer_prompt.prompt_data(twice)
    with pytest.raises(ValueError, match=one_line("map: not in these results")):
        explorer_prompt.prompt_data(dataset.drop_vars("map"))


def test_the_book_gets_the_shipped_prompt(data):
    scripts = explorer_prompt.scripts(RESULTS)
    assert set(scripts) == {explorer_prompt.INDEX, "prompt_map.js", "prompt_map.css"}
    assert scripts[explorer_prompt.INDEX].isascii()
    found = value_of(scripts[explorer_prompt.INDEX])
    assert {**found, "made": [tuple(words) for words in found["made"]]} == data


def test_without_a_prompt_there_is_a_script_that_says_so(tmp_path):
    assert value_of(explorer_prompt.scripts(tmp_path)[explorer_prompt.INDEX]) is None


def test_what_is_drawn_asks_for_nothing_and_takes_tokens_as_text():
    script = explorer_prompt.page_file("prompt_map.js")
    for word in ("innerHTML", "insertAdjacentHTML", "outerHTML", "fetch(", "XMLHttp", "import("):
        assert word not in script
    addresses = set(re.findall(r"https?://[^\s\"']+", script))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, from which nothing is loaded
    assert "url(" not in explorer_prompt.page_file("prompt_map.css")
    for name in ("prompt_map.js", "prompt_map.css"):
        assert "</" not in explorer_prompt.page_file(name)


# What book/explorer_prompt.md tells a reader to look for.


def test_what_the_page_says_is_there(dataset, data):
    maps = response.limit_maps(dataset)
    low, _ = data["scales"]["response"]["range"]
    others = np.triu_indices(T, 1)
    finite = maps.finite.values[:, *others]
    assert (finite[0] == 0).all()
    assert finite[1:3].max() < low
    assert np.median(finite[3]) > low
    # A token of the name answers, when it comes again, to what stood behind it.
    assert [data["tokens"][k] for k in (11, 12, 53)] == ["␣Edd", "a", "␣Edd"]
    row = maps.finite.values[-1, 12]
    assert row[14:].argmax() < 10
    assert row[53] > 5 * np.median(row[20:])
    # The ratio belongs to rows: their medians differ more than what is in a row.
    logs = np.where(np.tri(T, k=0) == 0, np.log(maps.ratio.values[-1]), np.nan)[:-10]
    assert np.nanstd(np.nanmedian(logs, axis=1)) > np.nanmedian(np.nanstd(logs, axis=1))
