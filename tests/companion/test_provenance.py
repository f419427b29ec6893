"""What a results file says of itself, and that the command it gives would measure it again."""

import shlex
from pathlib import Path

import pytest
from shipped import shipped_results
from typer.testing import CliRunner
from universal_response import Settings, cli, companion, heads, measurement, provenance
from universal_response.measurement import recorded, settings_of
from universal_response.measurement.results import attributes_in
from universal_response.measurement.schema import kind_in

SHIPPED = sorted((Path(__file__).parents[2] / "results").glob("*.nc"))


RESPONSES = [path for path in SHIPPED if kind_in(attributes_in(path)) == "response"]


@pytest.mark.parametrize("path", RESPONSES, ids=lambda path: path.stem)
def test_the_command_has_the_settings_of_the_file(path, monkeypatch):
    dataset = shipped_results(path.stem)
    asked = settings_of(dataset)
    said = provenance.command(dataset)
    drawn = {
        name: getattr(asked, name)
        for name in ("t0", "batch", "epsilons", "epsilon0", "seed", "dtype")
    }
    # What `make figures` has no option for, and what it draws nothing of.
    if asked.tokens is not None or asked != Settings(**drawn) or not asked.epsilons:
        assert said == f'ur.measure("{dataset.attrs["model"]}", ur.settings_of(dataset))'
        return
    seen = {}
    monkeypatch.setattr(
        measurement,
        "measure_into",
        lambda path, model, settings, progress: seen.update(model=model, settings=settings),
    )
    monkeypatch.setattr(companion.notebooks, "run_notebook", lambda *arguments: None)
    given = dict(part.split("=") for part in shlex.split(said.removeprefix("make figures ")))
    options = [f"--{name.lower()}={value}" for name, value in given.items()]
    outcome = CliRunner().invoke(cli.app, ["figures", *options, "--out", "nowhere"])
    assert outcome.exit_code == 0, outcome.output
    assert seen["model"] == dataset.attrs["model"]
    for name, value in drawn.items():
        assert getattr(seen["settings"], name) == value


HEADS = [path for path in SHIPPED if kind_in(attributes_in(path)) == "heads"]


@pytest.mark.parametrize("changed", [{}, {"t0": 32, "epsilon": 0.1, "chosen_on": 8}])
@pytest.mark.parametrize("path", HEADS, ids=lambda path: path.stem)
def test_the_command_has_the_settings_of_the_study(path, changed, monkeypatch, tmp_path):
    dataset = shipped_results(path.stem).assign_attrs(changed)
    seen = {}

    def study(out, model, settings, progress):
        seen.update(model=model, settings=settings)
        return dataset

    monkeypatch.setattr(heads, "study_heads_into", study)
    said = shlex.split(provenance.command(dataset).replace("FILE", str(tmp_path / "a.nc")))
    outcome = CliRunner().invoke(cli.app, said[1:])
    assert outcome.exit_code == 0, outcome.output
    assert seen["model"] == dataset.attrs["model"]
    assert seen["settings"] == recorded(heads.HeadSettings, dataset.attrs)


def test_summary_has_a_row_a_file():
    datasets = {path.stem: shipped_results(path.stem) for path in SHIPPED}
    table = provenance.summary(datasets)
    assert table.file.tolist() == [path.stem for path in SHIPPED]
    for row, dataset in zip(table.itertuples(), datasets.values(), strict=True):
        assert dataset.attrs["weights_sha256"].startswith(row.weights)
        assert dataset.attrs["content_sha256"].startswith(row.content)
        assert row.strengths == (len(dataset.epsilon) if "epsilon" in dataset.coords else 1)


def test_every_file_of_a_control_is_in_one_row_of_its_model():
    datasets = {path.stem: shipped_results(path.stem) for path in SHIPPED}
    controls, others = provenance.controls_apart(datasets)
    assert list(controls | others) == sorted(datasets, key=lambda name: name in others)
    assert list(controls) == [name for name in datasets if name.startswith("control-")]
    table = provenance.by_model(controls.values())
    assert table.files.sum() == len(controls)
    for row in table.itertuples():
        attrs = [each.attrs for each in controls.values() if each.attrs["model"] == row.model]
        assert row.files == len(attrs)
        assert row.time == measurement.in_time(sum(each["wall_time_s"] for each in attrs))
        assert set(row.weights.split("; ")) == {each["weights_sha256"][:12] for each in attrs}
        assert set(row.commit.split("; ")) == {each["git_commit"][:7] for each in attrs}


def test_every_file_is_in_one_row_of_its_versions():
    datasets = {path.stem: shipped_results(path.stem) for path in SHIPPED}
    table = provenance.versions_of(datasets)
    assert table.files.tolist() == [str(len(datasets))]
    assert table.drop(columns="files").iloc[0].to_dict() == provenance.versions(
        datasets["smollm2-135m"]
    )
    changed = {"smollm2-135m": datasets["smollm2-135m"].assign_attrs(versions='{"python": "4"}')}
    table = provenance.versions_of(datasets | changed)
    assert table.files.tolist() == [str(len(datasets) - 1), "smollm2-135m"]
    assert table.python.tolist()[1] == "4"


def test_defaults_are_left_out():
    dataset = shipped_results("gemma-3-270m")
    assert settings_of(dataset).t0 == Settings().t0
    assert provenance.command(dataset) == "make figures MODEL=gemma-3-270m"
