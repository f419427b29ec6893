"""A trained model in a folder, and what is written beside it."""

import hashlib
import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM
from universal_response import arithmetic, load_model
from universal_response.activations import unembedding_of
from universal_response.arithmetic import AdderSettings
from universal_response.arithmetic.answers import answers, tokens_of
from universal_response.arithmetic.folder import accuracy, command
from universal_response.propagation import forward

TINY = AdderSettings(
    digits=1, width=16, heads=2, inner=32, steps=60, batch=64, warm_up=2, rate=1e-2,
    withheld="block", seed=3, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "adder"
    return folder, arithmetic.train_into(folder, TINY)


def part_right(model, problems):
    """Share of problems whose digits behind right ones are all the most likely tokens."""
    right = 0
    for row in problems.tokens():
        logits = model(torch.tensor([row.tolist()])).logits[0]
        right += all(int(logits[place - 1].argmax()) == row[place] for place in (4, 5))
    return right / len(problems)


def test_what_was_trained_is_loaded(written):
    folder, _ = written
    problems = arithmetic.all_problems(1)
    bridge = load_model(str(folder), device="cpu", tokenizer=False)
    tokens = tokens_of(problems, bridge)
    found = answers(forward(tokens, bridge), tokens, unembedding_of(bridge)).logits
    expected = arithmetic.train(TINY)(tokens).logits[:, 3:5, :10].detach()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "provenance.json"
    }  # fmt: skip


def test_how_it_came_about_is_told(written):
    folder, about = written
    told = json.loads((folder / "provenance.json").read_text())
    assert told == about
    assert told["settings"] == asdict(TINY)
    assert told["command"] == command(TINY)
    weights = (folder / "model.safetensors").read_bytes()
    assert told["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert told["versions"]["torch"] == torch.__version__
    assert {"device", "git_commit", "created", "wall_time_s", "processor_time_s"} <= set(told)


def test_accuracy_is_that_of_every_part(written):
    folder, about = written
    model = LlamaForCausalLM.from_pretrained(folder)
    parts = vars(arithmetic.split("block", 3, 1))
    assert about["accuracy"] == {
        name: pytest.approx(part_right(model, part)) for name, part in parts.items()
    }
    assert 0 < about["accuracy"]["training"] < 1
    nothing = replace(TINY, withheld="nothing")
    assert set(accuracy(model, nothing)) == {"training", "held_out"}


def test_settings_are_read_again(written):
    assert arithmetic.settings_in(written[0]) == TINY


@pytest.mark.parametrize(
    "told", [None, "no json", "{}", '{"settings": {"step": 1}}', "[]"], ids=str
)
def test_a_folder_that_tells_of_no_training_to_add_is_refused(tmp_path, told):
    if told is not None:
        (tmp_path / "provenance.json").write_text(told)
    said = re.escape(
        f"model={tmp_path}: provenance.json there does not tell of a training to add; give a folder"
        " that `universal-response train adder` has written, or a registered adder"
    )
    with pytest.raises(ValueError, match=f"^{said}$"):
        arithmetic.settings_in(tmp_path)


BEGIN = "universal-response train adder --out FOLDER"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (AdderSettings(), BEGIN),
        (AdderSettings(device="cpu"), BEGIN),
        (AdderSettings(seed=2), f"{BEGIN} --seed 2"),
        (
            AdderSettings(withheld="cascades", steps=7, seed=1),
            f"{BEGIN} --seed 1 --withheld cascades --steps 7",
        ),
        (AdderSettings(width=32), "ur.arithmetic.train_into(FOLDER, settings)"),
        (AdderSettings(digits=3, seed=1), "ur.arithmetic.train_into(FOLDER, settings)"),
    ],
)
def test_what_trains_so_again(settings, expected):
    assert command(settings) == expected
