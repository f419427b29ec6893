"""The study of training, as small as it gets."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr
from command_line import run
from made_up_training import study as made_up
from universal_response import load_results, provenance, training
from universal_response.training import learning, summaries
from universal_response.training.study import experiments, looking, study, verify
from universal_response.training.study.experiments import EXPERIMENTS

pytestmark = pytest.mark.slow

SMALL = training.StudySettings(seeds=(3, 1), length=0.02, learning_rate=1e-3, evaluated_on=8)
FEW = {"full": 2, "responses": 1, "L1 + copy": 3}
PASSES = ("created", "cpu_seconds", "wall_time_s", "content_sha256")


@pytest.fixture(scope="module")
def short():
    """Three experiments and the graft, of a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        few = {name: shortened(EXPERIMENTS[name], n) for name, n in FEW.items()}
        patch.setattr(study, "EXPERIMENTS", few)
        grafting = experiments.grafting
        patch.setattr(study, "grafting", lambda donor: shortened(grafting(donor), 1))
        yield


def shortened(experiment, n):
    return dataclasses.replace(experiment, sequences=n * experiment.every)


@pytest.fixture(scope="module")
def folder(short, tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def found(folder):
    return training.study_training(SMALL, folder=folder / "parts")


def without(dataset, names):
    return {name: value for name, value in dataset.attrs.items() if name not in names}


def test_runs_stand_one_after_the_other_and_end_when_they_end(found):
    assert found.experiment.values.tolist() == [
        name for name in (*FEW, "grafted") for _ in SMALL.seeds
    ]
    assert found.seed.values.tolist() == [3, 1] * 4
    for name, n in FEW.items():
        assert summaries.runs_of(found, name).sizes["time"] == n + 1
    assert found.loss.isnull().any("split").values[0].tolist() == [False] * 3 + [True]
    assert found.response.notnull().any(("time", "label")).values.tolist() == (
        [False] * 2 + [True] * 2 + [False] * 4
    )


def test_runs_are_those_trained_by_themselves(found):
    settings = shortened(EXPERIMENTS["L1 + copy"], FEW["L1 + copy"]).settings(SMALL)
    _, curves = training.train(settings)
    expected = curves.loss.transpose("run", "sequences", "split")
    np.testing.assert_array_equal(summaries.runs_of(found, "L1 + copy").loss, expected)


def test_a_killed_study_trains_nothing_twice(found, folder, monkeypatch):
    def no(*of):
        raise AssertionError("trained again")

    # The witness is no part of what is kept.
    monkeypatch.setattr(study, "witness", lambda settings: found[[]])
    monkeypatch.setattr(learning, "step", no)
    again = training.study_training(SMALL, folder=folder / "parts")
    kept = [name for name in found if not str(name).startswith("witness")]
    assert again.drop_attrs().identical(found[kept].drop_attrs())
    assert without(again, PASSES) == without(found, PASSES)


def test_it_is_saved_and_found_again(found, folder, monkeypatch):
    monkeypatch.setattr(study, "study_training", lambda *of: found)
    path = folder / "training-letters.nc"
    saved = training.study_training_into(path, SMALL)
    assert load_results(path, kind="training").identical(saved)
    monkeypatch.undo()
    again = training.training_for(dataclasses.replace(SMALL, device="auto"), runs=folder)
    assert again.identical(saved)
    with pytest.raises(ValueError, match=r"out=.*: is a folder; give the name of a file in it"):
        training.study_training_into(folder, SMALL)


def test_other_settings_are_another_study(found, folder, monkeypatch):
    asked = []
    monkeypatch.setattr(training, "study_training_into", lambda *of: asked.append(of))
    other = dataclasses.replace(SMALL, seeds=(1, 3))
    training.training_for(other, runs=folder)
    assert [each[1] for each in asked] == [other]


@pytest.fixture(scope="module")
def again(found):
    return verify.made_again(found)


def test_the_same_numbers_verify(found, again, monkeypatch):
    monkeypatch.setattr(verify, "made_again", lambda dataset: again)
    outcome = training.verify_training(found)
    assert outcome.agrees
    assert outcome.worst < 0.1
    assert outcome.compared > found.parameters.size


@pytest.mark.parametrize("name", ["witness_loss", "keep_one_loss", "lost_without", "toy_end"])
def test_a_changed_number_does_not(found, again, name):
    changed = found.copy(deep=True)
    changed[name][(-1,) * found[name].ndim] += 0.01 * max(1, abs(float(found[name].max())))
    outcome = verify.compared(changed, again)
    assert not outcome.agrees
    assert outcome.where["of"] == name


def test_what_is_no_number_on_one_side_only_does_not(found, again):
    changed = found.copy(deep=True)
    changed["toy_loss"][0, 0, 0] = np.nan
    assert not verify.compared(changed, again).agrees
    assert verify.compared(changed, again.assign(toy_loss=changed.toy_loss)).agrees


def test_changed_weights_do_not_verify(found):
    changed = found.copy(deep=True)
    changed["parameters"][:, :3000] *= 1.2
    of_weights = looking.trained(training.model_of(changed.parameters.values), SMALL)
    witness = found[[name for name in found if str(name).startswith("witness")]]
    assert not verify.compared(changed, xr.merge([witness, of_weights])).agrees


def test_other_letters_are_refused(found):
    with pytest.raises(ValueError, match="features: of other letters than the file's"):
        training.verify_training(found.assign_attrs(features_sha256="0"))


def test_trained_models_are_in_the_file(found):
    model = training.model_of(found.parameters.values)
    sequences = training.evaluation_sequences(EXPERIMENTS["full"].settings(SMALL))["training"]
    last = summaries.runs_of(found, "full").loss.isel(time=-1).sel(split="training")
    loss = training.loss(training.forward(model, sequences))
    torch.testing.assert_close(loss, torch.tensor(last.values))
    with pytest.raises(ValueError, match="rows: of 5 numbers; a model has 66629"):
        training.model_of(np.zeros((2, 5), np.float32))


def test_the_made_up_study_looks_like_a_real_one(found):
    like = made_up()
    for name, each in like.items():
        assert set(each.dims) == set(found[name].dims), name
    for name in like.coords:
        if found[name].dtype.kind in "UO" and name != "experiment":
            assert found[name].values.tolist() == like[name].values.tolist(), name


def test_experiments_are_evaluated_as_often_whatever_their_length():
    for experiment in EXPERIMENTS.values():
        usual, tenth = (
            experiment.settings(dataclasses.replace(SMALL, length=length)) for length in (1, 0.1)
        )
        assert usual.sequences == experiment.sequences
        assert usual.sequences / usual.every == tenth.sequences / tenth.every
        assert tenth.sequences == pytest.approx(usual.sequences / 10, rel=0.1)


def test_single_heads_are_all_of_the_first_seed():
    runs = EXPERIMENTS["single heads"].runs((4, 2))
    assert [run.seed for run in runs] == [4] * 8
    assert len({repr(run.clamps) for run in runs}) == 8


def test_the_settings_are_in_the_file_and_in_its_command(found):
    assert training.study_settings_of(found) == SMALL
    assert provenance.command(found) == (
        "universal-response train letters --out FILE --seeds 3,1 --length 0.02 "
        "--learning-rate 0.001 --evaluated-on 8"
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": ()}, "seeds=: use different seeds >= 0, at least one"),
        ({"seeds": (1, 1)}, "seeds=1 1: use different seeds >= 0, at least one"),
        ({"seeds": (-1,)}, "seeds=-1: use different seeds"),
        ({"length": 0}, "length=0: use 0 < length <= 10"),
        ({"learning_rate": 0}, "learning_rate=0: use a rate > 0"),
        ({"evaluated_on": 0}, "evaluated_on=0: use at least 1"),
    ],
)
def test_bad_settings_are_refused_in_one_line(wrong, said):
    with pytest.raises(ValueError, match=said):
        training.StudySettings(**wrong)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "0 x"], "seeds=0 x: give whole numbers, by commas or spaces"),
        (["--seeds", "1,1"], "seeds=1 1: use different seeds >= 0, at least one"),
        (["--length", "0"], "length=0: use 0 < length <= 10"),
        (["--device", "gpu"], "device=gpu: choose auto, cpu, cuda, cuda:1 or mps"),
        (["--out", "."], "out=.: is a folder; give the name of a file in it"),
    ],
)
def test_the_command_refuses_bad_options_in_one_line(monkeypatch, capsys, options, said):
    arguments = {"--out": "study.nc"} | dict([options])
    flat = [each for pair in arguments.items() for each in pair]
    code, _, err = run(monkeypatch, capsys, "train", "letters", *flat)
    assert (code, err) == (2, f"error: {said}\n")


def test_the_command_makes_the_study_that_is_asked_for(found, monkeypatch, capsys, tmp_path):
    asked = []

    def made(out, settings, progress):
        asked.append((out, settings, progress))
        return found

    monkeypatch.setattr(training, "study_training_into", made)
    options = provenance.command(found).split()[1:]
    options[options.index("FILE")] = str(tmp_path / "study.nc")
    code, out, _ = run(monkeypatch, capsys, *options)
    assert code == 0
    assert out.startswith(f"{tmp_path / 'study.nc'}: 8 runs; ")
    assert asked == [(tmp_path / "study.nc", SMALL, True)]
