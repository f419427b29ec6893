"""Training: steps of Adam, runs side by side, curves, and going on after a kill."""

import dataclasses

import pytest
import torch
from killing import counted, kill
from messages import one_line
from safetensors.torch import load_file, save_file
from universal_response import training
from universal_response.training import (
    CLAMPS,
    Run,
    Task,
    TrainingSettings,
    checkpoints,
    learning,
    progress,
)
from universal_response.training.state import begun

TINY = TrainingSettings(
    runs=(Run(seed=0, clamps=CLAMPS["PT"]), Run(seed=1, clamps=CLAMPS["L1 + copy"])),
    sequences=48,
    batch=4,
    every=16,
    evaluated_on=8,
    learning_rate=1e-3,
    norm_epsilon=1e-12,
    responses=True,
)


def same(one, other):
    """Parameters and curves, bit for bit."""
    (model, curves), (others, theirs) = one, other
    timeless = [each.drop_attrs().assign_attrs(untimed(each)) for each in (curves, theirs)]
    return model.sha256 == others.sha256 and timeless[0].identical(timeless[1])


def untimed(curves):
    """Attributes without what it cost."""
    return {name: value for name, value in curves.attrs.items() if name != "cpu_seconds"}


@pytest.fixture(scope="module")
def trained():
    return training.train(TINY)


def test_steps_are_those_of_adam_by_hand():
    """Two steps of every parameter, in float64, of each run by itself."""
    settings = TrainingSettings(runs=(Run(seed=3), Run(seed=4)), dtype="float64")
    state = begun(settings)
    before = {name: each.detach().clone() for name, each in state.model.parameters.items()}
    split = Task().split("training")
    read = [
        training.stacked([split.drawn(5, training.generator_of(n + run, "x")) for run in range(2)])
        for n in (0, 10)
    ]
    for each in read:
        learning.step(state, each)
    for run in range(2):
        model = training.Model(
            {name: each[[run]].clone() for name, each in before.items()}, state.model.exemplars
        )
        moments = dict.fromkeys(before, (0.0, 0.0))
        for n, each in enumerate(read, 1):
            parameters = {k: v.detach().requires_grad_() for k, v in model.parameters.items()}
            model = dataclasses.replace(model, parameters=parameters)
            progress.loss(training.forward(model, each[[run]])).sum().backward()
            moved = {}
            for name, p in parameters.items():
                first, second = moments[name]
                first = 0.9 * first + 0.1 * p.grad
                second = 0.999 * second + 0.001 * p.grad**2
                moments[name] = first, second
                step = first / (1 - 0.9**n) / ((second / (1 - 0.999**n)).sqrt() + 1e-8)
                moved[name] = p - 1e-5 * step
            model = dataclasses.replace(model, parameters=moved)
        for name, each in model.parameters.items():
            found = state.model.parameters[name][[run]]
            # Of a step of 1e-5, 1e-6: where a gradient is small, its rounding counts.
            torch.testing.assert_close(found, each, rtol=0, atol=1e-11)


def test_runs_side_by_side_are_runs_alone():
    settings = dataclasses.replace(TINY, dtype="float64", learning_rate=1e-5)
    _, together = training.train(settings)
    for run in range(2):
        alone = dataclasses.replace(settings, runs=(settings.runs[run],))
        _, curves = training.train(alone)
        for name in ("loss", "induction_strength", "response"):
            found, expected = together[name].values[:, run], curves[name].values[:, 0]
            assert found == pytest.approx(expected, abs=1e-7), name


def test_the_loss_falls():
    settings = TrainingSettings(
        runs=(Run(clamps=CLAMPS["L1 + copy"]), Run(clamps=CLAMPS["match"])),
        sequences=1280,
        every=640,
        evaluated_on=64,
        learning_rate=1e-3,
    )
    _, curves = training.train(settings)
    first, last = curves.loss.values[0, :, 0], curves.loss.values[-1, :, 0]
    assert (last < 0.6 * first).all()
    assert (curves.accuracy.values[-1, :, 0] > 0.8).all()


def test_curves_are_measured_on_the_schedule(trained):
    model, curves = trained
    assert curves.sequences.values.tolist() == [0, 16, 32, 48]
    assert curves.loss.dims == ("sequences", "run", "split")
    assert curves.split.values.tolist() == ["training", "unseen", "relabelled"]
    assert curves.induction_strength.shape == curves.previous_token.shape == (4, 2, 8)
    assert curves.response.shape == (4, 2, 2)
    assert curves.seed.values.tolist() == [0, 1]
    for place, name in enumerate(curves.split.values):
        read = training.evaluation_sequences(TINY)[name]
        clamps = training.of_runs([run.clamps for run in TINY.runs])
        found = progress.loss(training.forward(model, read, clamps))
        assert found.tolist() == curves.loss.values[-1, :, place].tolist()
    # Its clamp is on in the evaluation too.
    assert (curves.previous_token.values[:, 0, 2] == 1).all()


def test_runs_are_evaluated_on_their_split():
    task = Task(classes=10, seed=2)
    settings = dataclasses.replace(TINY, runs=(Run(task=task), Run(seed=9)))
    for name, read in training.evaluation_sequences(settings).items():
        classes, pairs = (set(each.flatten().tolist()) for each in (read.classes[0], read.labels))
        assert classes <= set(task.split(name).classes.tolist())
        assert pairs <= set(range(5))
        again = training.evaluation_sequences(dataclasses.replace(settings, runs=(Run(task=task),)))
        assert torch.equal(read.classes[0], again[name].classes[0])


def test_the_same_settings_give_the_same_bits(trained):
    assert same(training.train(TINY), trained)
    assert not same(training.train(dataclasses.replace(TINY, batch=8)), trained)


@pytest.mark.parametrize(
    ("steps", "dtype"), [*((n, "float32") for n in (0, 2, 4, 9)), (6, "float64")]
)
def test_a_killed_training_goes_on_with_the_same_bits(tmp_path, monkeypatch, trained, steps, dtype):
    settings = dataclasses.replace(TINY, dtype=dtype)
    expected = trained if settings == TINY else training.train(settings)
    kill(lambda: training.train(settings, tmp_path), learning, monkeypatch, steps)
    done = counted(learning, monkeypatch)
    assert same(training.train(settings, tmp_path), expected)
    assert len(done) == 12 - steps // 4 * 4
    # What is finished is not trained again.
    assert same(training.train(settings, tmp_path), expected)
    assert len(done) == 12 - steps // 4 * 4


@pytest.fixture
def checkpoint(tmp_path):
    training.train(dataclasses.replace(TINY, sequences=16), tmp_path)
    return tmp_path / checkpoints.FILE


def test_a_checkpoint_of_other_settings_is_refused(checkpoint):
    others = {
        "batch": {"batch": 8},
        "runs": {"runs": (*TINY.runs[:1], Run(seed=1, clamps=CLAMPS["copy"]))},
        "norm_epsilon": {"norm_epsilon": 1e-5},
        "sequences": {},
    }
    for name, changed in others.items():
        settings = dataclasses.replace(TINY, **({"sequences": 16} if changed else {}), **changed)
        with pytest.raises(ValueError, match=one_line(rf"checkpoint=\S+: of {name}=.*, not ")):
            training.train(settings, checkpoint.parent)


def flipped(path):
    bytes_ = bytearray(path.read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    path.write_bytes(bytes_)


def without_metadata(path):
    save_file(load_file(path), path)


DAMAGED = {
    "a bit": flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no checkpoint, but long enough to be one"),
    "another kind": without_metadata,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_checkpoint_is_refused(checkpoint, name):
    DAMAGED[name](checkpoint)
    with pytest.raises(ValueError, match=one_line(r"checkpoint=\S+: damaged, or no checkpoint; ")):
        training.train(dataclasses.replace(TINY, sequences=16), checkpoint.parent)


def test_checkpoints_are_written_complete_or_not_at_all(checkpoint, monkeypatch):
    before = checkpoint.read_bytes()

    def torn(tensors, path, about):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(training.checkpoints, "save_file", torn)
    with pytest.raises(OSError, match="disk full"):
        training.checkpoints.save(checkpoint, {}, {})
    assert checkpoint.read_bytes() == before


WRONG = {
    "runs": ({"runs": ()}, r"runs=\(\): give at least one"),
    "labels": ({"runs": (Run(), Run(task=Task(labels=10)))}, "runs: of 5, 10 labels; train those"),
    "batch": ({"batch": 0}, "batch=0: use at least 1"),
    "evaluated": ({"evaluated_on": 0}, "evaluated_on=0: use at least 1"),
    "every": ({"every": 100}, "every=100: use a multiple of batch=32"),
    "sequences": ({"sequences": 9_000}, "sequences=9000: use a multiple of every=8000"),
    "none": ({"sequences": 0}, "sequences=0: use a multiple of every=8000, at least one"),
    "rate": ({"learning_rate": 0}, "learning_rate=0: use a rate > 0"),
    "norm": ({"norm_epsilon": 0}, "norm_epsilon=0: use a number > 0"),
    "dtype": ({"dtype": "float16"}, "dtype=float16: choose float32 or float64"),
    "device": ({"device": "tpu"}, "device=tpu: choose auto"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_settings_are_refused_in_one_line(name):
    changed, start = WRONG[name]
    with pytest.raises(ValueError, match=one_line(start)):
        TrainingSettings(**changed)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match=one_line("seed=-1: use a seed >= 0")):
        Run(seed=-1)


def test_settings_in_words_tell_every_setting_apart():
    words = [checkpoints.in_words(TINY)]
    for name, value in (("batch", 8), ("responses", False), ("device", "auto")):
        words.append(checkpoints.in_words(dataclasses.replace(TINY, **{name: value})))
    assert len({repr(each) for each in words}) == 4
