"""The commands on models that add: bad input is told in one line, and nothing is left."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import run
from universal_response import arithmetic, load_results, models
from universal_response.arithmetic import AdderSettings, ArithmeticSettings
from universal_response.measurement import recorded

SMALL = [
    "--chosen-on", 16, "--means-of", 16, "--evaluated-on", 16, "--probed-on", 40,
    "--perturbed-on", 2, "--likely-of", 8, "--draws", 2, "--device", "cpu",
]  # fmt: skip


def said_in_one_line(err, beginning):
    assert err.startswith(f"error: {beginning}")
    assert len(err.strip().splitlines()) == 1


def refused(monkeypatch, capsys, tmp_path, *arguments):
    """What is said of arguments that are refused, before anything is made."""
    monkeypatch.setattr(arithmetic, "study_arithmetic_into", pytest.fail)
    monkeypatch.setattr(arithmetic, "train_into", pytest.fail)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert sorted(tmp_path.rglob("*")) == before
    return err


# arithmetic --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "adder-9"], "model=adder-9"),
        (["--model", "no/such/folder/at/all"], "model=no/such/folder/at/all"),
        (["--model", "adder-0 gpt-5"], "model=gpt-5"),
        (["--model", " "], "model= : give at least one; registered are adder-0 adder-1 "),
        (["--chosen-on", "15"], "chosen_on=15: half are sums; use an even number >= 16"),
        (["--chosen-on", "many"], "Invalid value for '--chosen-on'"),
        (["--means-of", "17"], "means_of=17"),
        (["--evaluated-on", "0"], "evaluated_on=0"),
        (["--probed-on", "14"], "probed_on=14"),
        (["--perturbed-on", "1"], "perturbed_on=1"),
        (["--likely-of", "1"], "likely_of=1"),
        (["--draws", "0"], "draws=0"),
        (["--faithful", "1.5"], "faithful=1.5"),
        (["--seed", "-1"], "seed=-1"),
        (["--device", "toaster"], "device=toaster"),
        (["--device", "cuda:99"], "device=cuda:99"),
        (["--dtype", "int8"], "dtype=int8"),
        (["--t0", "5"], "No such option"),
    ],
)
def test_bad_input_of_a_study_is_named(monkeypatch, capsys, tmp_path, arguments, named):
    out = ["--out", tmp_path / "new"]
    err = refused(monkeypatch, capsys, tmp_path, "arithmetic", *out, *arguments)
    said_in_one_line(err, named)


@pytest.mark.parametrize("name", ["gpt2-induction", "gemma-3-270m", "adder-0 gpt2-induction"])
def test_a_model_that_does_not_add_is_refused(monkeypatch, capsys, tmp_path, name):
    """Before any of them is studied."""
    options = ["--out", tmp_path / "new", "--model", name]
    err = refused(monkeypatch, capsys, tmp_path, "arithmetic", *options)
    said_in_one_line(err, "model=")
    assert f"{name.split()[-1]}: provenance.json there does not tell of a training to add" in err


@pytest.mark.parametrize("told", [None, "no json", '{"settings": {"steps": 1, "phases": []}}'])
def test_a_folder_that_tells_of_no_training_is_refused(monkeypatch, capsys, tmp_path, told):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    if told is not None:
        (folder / "provenance.json").write_text(told)
    options = ["--out", tmp_path / "new", "--model", folder]
    err = refused(monkeypatch, capsys, tmp_path, "arithmetic", *options)
    said_in_one_line(err, f"model={folder}: provenance.json there does not tell of a training")


@pytest.mark.parametrize("command", [["arithmetic"], ["train", "adder"]])
@pytest.mark.parametrize("below", ["", "new"])
def test_a_file_in_the_way_is_found_before_anything_is_made(
    monkeypatch, capsys, tmp_path, command, below
):
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / below
    err = refused(monkeypatch, capsys, tmp_path, *command, "--out", out)
    said_in_one_line(err, f"out={out}: {tmp_path / 'file'} is no folder one can write to")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_study_is_that_of_the_options(monkeypatch, capsys, tmp_path):
    asked = []

    def study(*arguments, **others):
        asked.append((*arguments, others))
        return SimpleNamespace(circuit_nodes=np.array([16, 40]), attrs={"wall_time_s": 7.5})

    monkeypatch.setattr(arithmetic, "study_arithmetic_into", study)
    options = [
        *("--out", tmp_path / "o", "--model", "adder-1 adder-no-block-2"), *SMALL,
        *("--faithful", 0.8, "--seed", 3, "--dtype", "float64"),
    ]  # fmt: skip
    code, out, err = run(monkeypatch, capsys, "arithmetic", *options)
    assert (code, err) == (0, "")
    expected = ArithmeticSettings(
        chosen_on=16, means_of=16, evaluated_on=16, probed_on=40, perturbed_on=2, likely_of=8,
        draws=2, faithful=0.8, seed=3, device="cpu", dtype="float64",
    )  # fmt: skip
    assert asked == [
        (tmp_path / "o" / f"arithmetic-{name}.nc", name, expected, {"progress": True})
        for name in ("adder-1", "adder-no-block-2")
    ]
    lines = out.strip().splitlines()
    assert (
        lines[0] == f"{tmp_path / 'o' / 'arithmetic-adder-1.nc'}: circuits of 16, 40 nodes; 7.5 s"
    )
    assert len(lines) == 2


def test_all_adders_are_studied_if_none_is_named(monkeypatch, capsys, tmp_path):
    asked = []

    def study(path, name, settings, progress):
        asked.append((path.name, name, settings))
        return SimpleNamespace(circuit_nodes=np.array([1]), attrs={"wall_time_s": 0.0})

    monkeypatch.setattr(arithmetic, "study_arithmetic_into", study)
    code, _, err = run(monkeypatch, capsys, "arithmetic", "--out", tmp_path)
    assert (code, err) == (0, "")
    adders = [model.name for model in models.MODELS if model.task == "addition"]
    assert len(adders) == 9
    assert asked == [(f"arithmetic-{name}.nc", name, ArithmeticSettings()) for name in adders]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 2, "memory: the device has too little"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
    ],
)
def test_what_may_happen_underway_is_told(monkeypatch, capsys, tmp_path, error, code, said):
    def fail(*arguments, **others):
        raise error

    monkeypatch.setattr(arithmetic, "study_arithmetic_into", fail)
    found, _, err = run(monkeypatch, capsys, "arithmetic", "--out", tmp_path, "--model", "adder-0")
    assert found == code
    said_in_one_line(err, said)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_one_name_do_not_share_a_file(monkeypatch, capsys, tmp_path):
    paths = []

    def study(path, *others, **more):
        paths.append(path)
        return SimpleNamespace(circuit_nodes=np.array([1]), attrs={"wall_time_s": 0.0})

    monkeypatch.setattr(arithmetic, "study_arithmetic_into", study)
    for name in ("one", "two"):
        (tmp_path / name / "adder").mkdir(parents=True)
        told = json.dumps({"settings": {"seed": 0}})
        (tmp_path / name / "adder" / "provenance.json").write_text(told)
    both = " ".join(str(tmp_path / name / "adder") for name in ("one", "two"))
    code, _, err = run(monkeypatch, capsys, "arithmetic", "--out", tmp_path, "--model", both)
    assert (code, err) == (0, "")
    assert len(set(paths)) == 2


# train adder -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--withheld", "odd"], "withheld=odd: choose one of nothing, cascades, block"),
        (["--steps", "0"], "steps=0: use at least 1"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--seed", "-1"], "seed=-1: use a seed >= 0"),
        (["--device", "toaster"], "device=toaster"),
        (["--device", "cuda:99"], "device=cuda:99"),
        (["--width", "32"], "No such option"),
    ],
)
def test_bad_input_of_a_training_is_named(monkeypatch, capsys, tmp_path, arguments, named):
    out = ["--out", tmp_path / "new"]
    err = refused(monkeypatch, capsys, tmp_path, "train", "adder", *out, *arguments)
    said_in_one_line(err, named)


def test_a_folder_has_to_be_named(monkeypatch, capsys, tmp_path):
    for command in (["arithmetic"], ["train", "adder"]):
        err = refused(monkeypatch, capsys, tmp_path, *command)
        said_in_one_line(err, "Missing option '--out'")


def test_a_training_is_that_of_the_options(monkeypatch, capsys, tmp_path):
    asked = []

    def train_into(*arguments, **others):
        asked.append((*arguments, others))
        return {"accuracy": {"training": 0.98765, "held_out": 0.5}, "wall_time_s": 7.5}

    monkeypatch.setattr(arithmetic, "train_into", train_into)
    options = ["--withheld", "block", "--steps", 9, "--seed", 3, "--device", "cpu"]
    out = tmp_path / "o"
    code, said, err = run(monkeypatch, capsys, "train", "adder", "--out", out, *options)
    assert (code, err) == (0, "")
    settings = AdderSettings(withheld="block", steps=9, seed=3, device="cpu")
    assert asked == [(out, settings, {"progress": True})]
    assert said.strip() == f"{out}: right 0.988 of training; 0.500 of held_out; 7.5 s"


def test_a_training_is_the_shipped_one_if_nothing_is_told(monkeypatch, capsys, tmp_path):
    asked = []

    def train_into(folder, settings, progress):
        asked.append(settings)
        return {"accuracy": {}, "wall_time_s": 0.0}

    monkeypatch.setattr(arithmetic, "train_into", train_into)
    assert run(monkeypatch, capsys, "train", "adder", "--out", tmp_path)[0] == 0
    assert asked == [AdderSettings()] == [arithmetic.settings_in(models.SHIPPED / "adder-0")]


@pytest.mark.slow
def test_what_is_trained_is_studied(monkeypatch, capsys, tmp_path):
    """Both commands for real, on a model that has seen three batches."""
    folder, results = tmp_path / "mine", tmp_path / "results"
    options = ["--steps", 3, "--withheld", "block", "--seed", 4, "--device", "cpu"]
    code, said, err = run(monkeypatch, capsys, "train", "adder", "--out", folder, *options)
    assert code == 0, err
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "provenance.json"
    }  # fmt: skip
    told = json.loads((folder / "provenance.json").read_text())
    expected = "; ".join(f"{part:.3f} of {name}" for name, part in told["accuracy"].items())
    assert said.startswith(f"{folder}: right {expected}; ")
    assert told["command"] == (
        "universal-response train adder --out FOLDER --seed 4 --withheld block --steps 3"
    )

    options = ["--out", results, "--model", folder, *SMALL]
    code, said, err = run(monkeypatch, capsys, "arithmetic", *options)
    assert code == 0, err
    (path,) = results.iterdir()  # named after the folder, and where it is
    assert re.fullmatch(r"arithmetic-mine-[0-9a-f]{8}\.nc", path.name)
    found = load_results(path, kind="arithmetic")
    nodes = ", ".join(str(n) for n in found.circuit_nodes.values)
    told_of = f"{path}: circuits of {nodes} nodes; {found.attrs['wall_time_s']} s"
    assert said.strip() == told_of
    about = [found.attrs[name] for name in ("withheld", "training_seed", "digits")]
    assert about == ["block", 4, 2]
    assert recorded(ArithmeticSettings, found.attrs).probed_on == 40
    assert found.attrs["weights_sha256"] == told["weights_sha256"]
    for part, accuracy in told["accuracy"].items():
        assert float(found.accuracy.sel(part_of_split=part)) == pytest.approx(accuracy, abs=1e-6)
    # What was measured agrees with what is measured again.
    code, said, err = run(monkeypatch, capsys, "verify", path)
    assert code == 0, err
    assert "agrees" in said


@pytest.mark.slow
def test_weights_that_are_missing_leave_nothing(monkeypatch, capsys, tmp_path):
    """A folder that tells how it was trained, and has no weights."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "provenance.json").write_text(json.dumps({"settings": {"seed": 0}}))
    options = ["--out", tmp_path / "results", "--model", folder, *SMALL]
    code, _, err = run(monkeypatch, capsys, "arithmetic", *options)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.nc"))
    assert not (tmp_path / "results").exists()
