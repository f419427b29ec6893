"""The data of the explorer of heads: what a browser reads is what the results files hold."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scripts import unpacked, value_of
from shipped import shipped_results
from universal_response import REGISTRY, figures, save_results
from universal_response.companion import explorer, explorer_heads
from universal_response.heads import CLASSES, PARTS, SCORES, HeadSettings

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[2] / "results"
SHIPPED = [name for name in REGISTRY if (RESULTS / f"heads-{name}.nc").is_file()]
MEASURES = (*explorer_heads.SCORES, *explorer_heads.EFFECTS)
LAYERS, HEADS, SETTINGS = 3, 2, HeadSettings(t0=8)
CLASS_OF = {(0, 1): "previous_token", (1, 0): "duplicate_token", (2, 1): "induction"}


def study(model="smollm2-135m", sublayers=("attention", "mlp")):
    """A made-up study of a few heads: all that the explorer reads, every number another one."""
    random = np.random.default_rng(0)
    positions, n_positions = list(sublayers) * LAYERS, 1 + LAYERS * len(sublayers)
    sizes = {"input": 3, "score": len(SCORES), "layer": LAYERS, "head": HEADS, "part": len(PARTS),
             "strength": 2, "compared": 3, "distance": 12, "position": n_positions,
             "offset": SETTINGS.t0 + 1}  # fmt: skip
    scores, heads = ("input", "score", "layer", "head"), ("layer", "head")
    variables = {
        "attention_score": scores,
        "attention_score_sem": scores,
        "prefix_matching_gapped": heads,
        "attention_by_offset": (*heads, "offset"),
        **dict.fromkeys(("ablation_effect", "ablation_effect_sem"), heads),
        **dict.fromkeys(("attribution", "attribution_sem"), heads),
        "share": ("strength", "compared", "position", *heads),
        "carried_last": ("strength", "distance", *heads, "part"),
        "response": ("strength", "distance", "position"),
    }
    arrays = {
        name: (dims, random.normal(size=[sizes[dim] for dim in dims]).astype(np.float32))
        for name, dims in variables.items()
    }
    found = [[CLASS_OF.get((layer, head), "") for head in range(HEADS)] for layer in range(LAYERS)]
    return xr.Dataset(
        {**arrays, "head_class": (heads, np.array(found))},
        {
            "input": ["repeated", "unrepeated", "shuffled weights"],
            "score": list(SCORES),
            "strength": ["limit", "finite"],
            "compared": [SETTINGS.control, SETTINGS.t0 - 1, SETTINGS.t0],
            "distance": list(SETTINGS.distances),
            "part": list(PARTS),
            "sublayer": ("position", ["input", *positions]),
            "position_layer": (
                "position",
                [0, *np.repeat(range(LAYERS), len(sublayers)).tolist()],
            ),
        },
        {"kind": "heads", "schema_version": 1, "model": model} | SETTINGS.__dict__,
    )


@pytest.fixture(scope="module", params=["made up", *SHIPPED])
def read(request):
    """A study and what the browser makes of it."""
    if request.param == "made up":
        dataset = study()
        scripts = explorer.as_scripts(
            explorer_heads.NAME, {}, {"mine": explorer_heads.model_data(dataset)}
        )
        return dataset, value_of(scripts["explorer-heads-mine.js"])
    scripts = explorer_heads.scripts(RESULTS)
    return shipped_results(f"heads-{request.param}"), value_of(
        scripts[f"explorer-heads-{request.param}.js"]
    )


def assert_same_bits(text, expected):
    found = unpacked(text).reshape(expected.shape)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), expected.values.view(np.uint32))


def test_numbers_along_positions_distances_and_offsets_are_those_of_the_file(read):
    dataset, data = read
    assert_same_bits(
        data["attention"], dataset.attention_by_offset.transpose("layer", "head", "offset")
    )
    assert_same_bits(
        data["share"],
        dataset.share.sel(compared=data["compared"]).transpose(
            "strength", "compared", "position", "layer", "head"
        ),
    )
    assert_same_bits(
        data["carried"],
        dataset.carried_last.transpose("strength", "distance", "layer", "head", "part"),
    )
    assert_same_bits(
        data["response"], dataset.response.isel(position=-1).transpose("strength", "distance")
    )


def test_maps_are_those_of_the_file(read):
    dataset, data = read
    shape = (len(MEASURES), dataset.sizes["layer"], dataset.sizes["head"])
    values, errors = (unpacked(data[name]).reshape(shape) for name in ("measured", "error"))
    for name, value, error in zip(MEASURES, values, errors, strict=True):
        score = {"score": name, "input": "repeated"}
        if name in SCORES:
            expected = dataset.attention_score.sel(score), dataset.attention_score_sem.sel(score)
        elif name == "prefix_matching_gapped":
            expected = dataset[name], dataset[name] * np.nan
        else:
            expected = dataset[name], dataset[f"{name}_sem"]
        np.testing.assert_array_equal(value, expected[0].transpose("layer", "head"))
        np.testing.assert_array_equal(error, expected[1].transpose("layer", "head"))
    unrepeated = dataset.attention_score.sel(input="unrepeated", score=list(MEASURES[:3]))
    assert_same_bits(data["unrepeated"], unrepeated.transpose("score", "layer", "head"))


def test_axes_classes_and_marks_are_those_of_the_file(read):
    dataset, data = read
    t0 = dataset.attrs["t0"]
    assert (data["t0"], data["epsilon"]) == (t0, dataset.attrs["epsilon"])
    for name in ("strength", "part", "distance"):
        assert data[name] == list(dataset[name].values)
    # The panel of distances draws the first one, the control, beside the window.
    assert data["compared"] == [t0 - 1, t0, data["distance"][0]]
    assert np.diff(data["distance"])[1:].tolist() == [1] * 10
    for name, heads in data["classes"].items():
        assert {tuple(head) for head in heads} == {
            (layer, head)
            for layer, row in enumerate(dataset.head_class.values)
            for head, found in enumerate(row)
            if found == name
        }
    for layer, position in enumerate(data["added"]):
        assert data["position"][position] == f"attention of layer {layer}"
        assert position == 2 * layer + 1
    assert [mark["x"] for mark in data["marks"]["offsets"]] == [1, t0 - 1, t0]
    assert [mark["x"] for mark in data["marks"]["distances"]] == [t0 - 1, t0]


def test_index_knows_sizes_measures_and_colours():
    dataset = study()
    about = explorer_heads.index({"mine": dataset})
    score = dataset.attention_score.sel(score="induction", input="repeated")
    layer, head = about["sizes"]["mine"].pop("start")
    assert float(score[layer, head]) == float(score.max())
    assert about["sizes"] == {"mine": {"layers": LAYERS, "heads": HEADS}}
    assert about["models"] == {"mine": REGISTRY["smollm2-135m"].title}
    assert [each["name"] for each in about["measures"]] == [*MEASURES, *explorer_heads.SHARES]
    # Classes are scores too, the first ones: the page reads the score of a class by its name.
    assert {each["name"] for each in about["measures"][:3]} == set(CLASSES) == set(about["classes"])
    for name, each in about["classes"].items():
        assert each["colour"] == figures.CLASS_COLOURS[name]
    assert len({each["symbol"] for each in about["classes"].values()}) == len(CLASSES)
    assert len(about["colours"]["parts"]) == len(PARTS)
    assert not set(about["colours"]["parts"]) & set(about["colours"]["compared"])


def test_heads_of_parallel_blocks_add_behind_the_block():
    data = explorer_heads.model_data(study(sublayers=("block",)))
    assert data["added"] == [1, 2, 3]
    assert data["position"] == ["transformer input", "layer 0", "layer 1", "layer 2"]


def test_studies_of_a_folder_are_found_by_the_name_of_their_model(tmp_path):
    for name in ("heads-smollm2-135m", "heads-mine", "other"):
        save_results(study(), tmp_path / f"{name}.nc")
    scripts = explorer_heads.scripts(tmp_path)
    assert set(scripts) == {explorer_heads.INDEX, "explorer-heads-smollm2-135m.js"}
    assert set(value_of(scripts[explorer_heads.INDEX])["models"]) == {"smollm2-135m"}


def test_folder_without_studies_gives_an_index_without_models(tmp_path):
    scripts = explorer_heads.scripts(tmp_path)
    assert set(scripts) == {explorer_heads.INDEX}
    assert value_of(scripts[explorer_heads.INDEX])["models"] == {}


def test_scripts_are_small_and_of_plain_characters():
    scripts = explorer_heads.scripts(RESULTS)
    assert sum(map(len, scripts.values())) < 2e6
    assert all(text.isascii() for text in scripts.values())
