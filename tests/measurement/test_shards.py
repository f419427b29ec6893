"""Measurements that were killed: they go on, lose a shard at most, and end with the same bits."""

import dataclasses
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_hf_model, tiny_model
from universal_response import (
    Settings,
    load_model,
    load_results,
    measure,
    results_for,
    save_results,
)
from universal_response.measurement import measure_into, shards, workers
from universal_response.measurement.job import prepare

pytestmark = pytest.mark.slow

MEASURE = sys.modules[measure.__module__]  # its name is that of the function
SETTINGS = Settings(
    t0=2, batch=5, epsilons=(0.01, 0.05), epsilon0=0.05, seed=7, sequences_per_chunk=1
)
SHARDS = 2 * SETTINGS.batch  # each sequence once at finite strengths and once in the limit
PASSES = 2  # of a shard: the clean one, and one with all suffixes end to end
RUN = {"wall_time_s", "created", "content_sha256"}  # what differs between two equal measurements
NAME = "results.nc"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders with a tiny model, and with another that differs in a single weight."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("tiny", "other"):
        model = tiny_hf_model("llama")
        model.model.norm.weight[0] += name == "other"
        model.save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def model(weights):
    return load_model(str(weights / "tiny"), device="cpu", tokenizer=False)


@pytest.fixture(scope="module")
def passes(model):
    """Counts forward passes of the model; empty it before use."""
    counted = []
    handle = model.original_model.base_model.register_forward_hook(lambda *_: counted.append(1))
    yield counted
    handle.remove()


def assert_same(found, expected):
    """Every variable bit for bit, and all that is said of it but when and how long."""
    assert list(found.variables) == list(expected.variables)
    for name, variable in expected.variables.items():
        assert found[name].dtype == variable.dtype, name
        assert found[name].values.tobytes() == variable.values.tobytes(), name
    kept = [{k: v for k, v in each.attrs.items() if k not in RUN} for each in (found, expected)]
    assert kept[0] == kept[1]


# killed ------------------------------------------------------------------------------------------


class Moments:
    """Counts what a child does, and kills it for good at one of these moments.

    Its moments are the forward passes, and for every file the writing, the renaming and the
    removal. A file that is being written is left half written.
    """

    def __init__(self, report, last):
        self.report, self.last, self.n = report, last, 0

    def __call__(self, kind, half_written=None):
        self.n += 1
        if self.n == self.last:
            if half_written is not None:
                os.truncate(half_written, os.path.getsize(half_written) // 2)
            os.write(self.report, kind.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, model):
        base, replace, unlink = model.original_model.base_model, os.replace, os.unlink

        def watched_replace(source, target):
            suffix = Path(target).suffix
            self(f"writing {suffix}", half_written=source)
            self(f"written {suffix}")
            replace(source, target)
            self(f"renamed {suffix}")

        def watched_unlink(path, **options):
            unlink(path, **options)
            self("removed")

        os.replace, os.unlink = watched_replace, watched_unlink
        base.register_forward_hook(lambda *_: self("pass"))


def run_child(path, model, last=None):
    """Measure into a file in a child process that is killed at its moment number `last`.

    Returns:
        What it was killed at, or the number of its moments if it came to the end.
    """
    read, report = os.pipe()
    child = os.fork()
    if child == 0:
        # The child must not go on with the tests, whatever happens.
        try:
            os.close(read)
            # The threads that wait for work did not come along.
            torch.set_num_threads(1)
            moments = Moments(report, last)
            moments.watch(model)
            measure_into(path, model, SETTINGS)
            os.write(report, f"{moments.n} moments".encode())
            os._exit(0)
        except BaseException as error:
            os.write(report, repr(error).encode())
        finally:
            os._exit(1)
    os.close(report)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if last is None else -signal.SIGKILL), told
    return told


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """A folder with all shards of a measurement, and its results."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, measure(model, SETTINGS, shards=folder)


@pytest.fixture(scope="module")
def whole(model, finished, tmp_path_factory):
    """Results that were not interrupted, and the number of moments that took.

    After a measurement in this process: what is imported by its first one, no child imports again.
    """
    folder = tmp_path_factory.mktemp("whole")
    told = run_child(folder / NAME, model)
    assert [path.name for path in folder.iterdir()] == [NAME]
    return load_results(folder / NAME), int(told.split()[0])


def moments_for(shards):
    """To measure and save so many shards, save the results, and remove all shards."""
    return shards * (PASSES + 3) + 3 + SHARDS


def test_killed_ten_times_at_random(model, whole, tmp_path):
    """A child lives for a shard on average: some die inside one, some while one is saved."""
    generator = np.random.default_rng(1)
    killed_at, finished = [], [0]
    for _ in range(10):
        moment = int(generator.integers(1, 2 * (PASSES + 3)))
        killed_at.append(run_child(tmp_path / NAME, model, moment))
        assert not (tmp_path / NAME).exists()
        finished.append(len(list(tmp_path.glob("*.shards/*.npz"))))
    assert set(killed_at) == {"pass", "writing .npz", "written .npz", "renamed .npz"}
    assert finished == sorted(finished)
    assert 0 < finished[-1] < SHARDS
    # No pass for what was finished, every pass for what was not.
    told = run_child(tmp_path / NAME, model)
    assert told == f"{moments_for(SHARDS - finished[-1])} moments"
    assert_same(load_results(tmp_path / NAME), whole[0])
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_killed_at_the_edges(model, whole, tmp_path):
    """A file has its name when it is complete, and not before; each child goes on from the last."""
    expected, n = whole
    assert n == moments_for(SHARDS)
    for moment, kind, n_shards, saved in (
        (1, "pass", 0, False),
        (PASSES + 1, "writing .npz", 0, False),
        (PASSES + 2, "written .npz", 0, False),
        (PASSES + 3, "renamed .npz", 1, False),
        (moments_for(SHARDS - 1) - SHARDS - 2, "writing .nc", SHARDS, False),
        (moments_for(0) - SHARDS, "renamed .nc", SHARDS, True),
        (moments_for(0) - SHARDS // 2, "removed", SHARDS // 2, True),
    ):
        assert run_child(tmp_path / NAME, model, moment) == kind
        assert len(list(tmp_path.glob("*.shards/*.npz"))) == n_shards
        assert (tmp_path / NAME).exists() == saved
        if saved:
            assert_same(load_results(tmp_path / NAME), expected)
    run_child(tmp_path / NAME, model)
    assert_same(load_results(tmp_path / NAME), expected)
    assert not list(tmp_path.glob("*.shards"))


# what is used again, and what is not -------------------------------------------------------------


@pytest.fixture(scope="module")
def job(model):
    return prepare(model, SETTINGS)


@pytest.fixture(scope="module")
def stored(finished, tmp_path_factory):
    """Its results, written and read again."""
    return load_results(save_results(finished[1], tmp_path_factory.mktemp("stored") / NAME))


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it to damage."""
    return Path(shutil.copytree(finished[0], tmp_path / "shards"))


def resume(model, passes, folder, settings=SETTINGS):
    """The results, and how many shards were measured for them."""
    passes.clear()
    found = measure(model, settings, shards=folder)
    assert len(passes) % PASSES == 0
    return found, len(passes) // PASSES


def test_finished_shards_are_not_measured_again(model, passes, folder, finished):
    assert len(list(folder.iterdir())) == SHARDS
    found, measured = resume(model, passes, folder)
    assert measured == 0
    assert_same(found, finished[1])
    # Nor do they change the numbers.
    assert_same(measure(model, SETTINGS), finished[1])


@pytest.mark.parametrize("gone", [1, 5, SHARDS])
def test_only_missing_shards_are_measured(model, passes, folder, finished, gone):
    for path in sorted(folder.iterdir())[:gone]:
        path.unlink()
    found, measured = resume(model, passes, folder)
    assert measured == gone
    assert_same(found, finished[1])


def cut(fraction):
    return lambda whole: whole[: int(fraction * len(whole))]


def flip(whole):
    """A bit of a number in the middle of the file."""
    place = len(whole) // 2
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


DAMAGES = {
    "empty": cut(0),
    "head": cut(0.01),
    "half": cut(0.5),
    "no end": cut(0.99),
    "flipped bit": flip,
    "text": lambda whole: b"C(i, j)\n1.0\n",
}
KINDS = ("finite", "linear")


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_shard_is_none(job, folder, kind, damage):
    path, known = sorted(folder.glob(f"{kind}-*"))[2], shards.identity(job)
    assert shards.load_shard(path, known)
    path.write_bytes(damage(path.read_bytes()))
    assert shards.load_shard(path, known) == {}


def test_damaged_shards_are_measured_again(model, passes, folder, finished):
    paths = [path for kind in KINDS for path in sorted(folder.glob(f"{kind}-*"))[:3]]
    for path, damage in zip(paths, DAMAGES.values(), strict=True):
        path.write_bytes(damage(path.read_bytes()))
    found, measured = resume(model, passes, folder)
    assert measured == len(DAMAGES)
    assert_same(found, finished[1])
    assert len(list(folder.iterdir())) == SHARDS
    assert resume(model, passes, folder)[1] == 0


@pytest.mark.parametrize("suffix", [".npz", ".nc"])
def test_interrupted_while_saving(model, folder, stored, tmp_path, monkeypatch, suffix):
    """A file has its name when it is complete, and not before: children are killed there too."""
    replace, path, missing = os.replace, tmp_path / NAME, 2 if suffix == ".npz" else 0
    shards_beside = folder.rename(path.with_suffix(".shards"))
    for shard in sorted(shards_beside.iterdir())[:missing]:
        shard.unlink()

    def interrupted(source, target):
        if Path(target).suffix == suffix:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            measure_into(path, model, SETTINGS)
    assert not path.exists()
    assert len(list(shards_beside.glob("*.npz"))) == SHARDS - missing
    measure_into(path, model, SETTINGS)
    assert not shards_beside.exists()
    assert_same(load_results(path), stored)


def test_unfinished_shard_is_not_used(model, passes, folder, finished):
    """Not even where it holds all that the shard would."""
    for path in folder.iterdir():
        path.rename(path.with_suffix(".partial"))
    found, measured = resume(model, passes, folder)
    assert measured == SHARDS
    assert_same(found, finished[1])
    assert not list(folder.glob("*.partial"))


def assert_foreign(job, folder):
    """None of the shards in the folder is one of this measurement."""
    known = shards.identity(job)
    assert [shards.load_shard(path, known) for path in folder.iterdir()] == SHARDS * [{}]


@pytest.mark.parametrize(
    "change",
    [{"seed": 8}, {"epsilons": (0.02, 0.05)}, {"epsilon0": 0.01}, {"sources": 2}, {"distance": 2}],
)
def test_shards_of_other_settings_are_foreign(model, folder, change):
    assert_foreign(prepare(model, dataclasses.replace(SETTINGS, **change)), folder)


def test_foreign_shards_are_not_used(model, passes, folder):
    """What is put in their place is."""
    other = dataclasses.replace(SETTINGS, seed=8)
    found, measured = resume(model, passes, folder, other)
    assert measured == SHARDS
    assert_same(found, measure(model, other))
    assert resume(model, passes, folder, other)[1] == 0


def test_shards_of_other_weights_are_foreign(weights, folder):
    other = load_model(str(weights / "other"), device="cpu", tokenizer=False)
    assert_foreign(prepare(other, SETTINGS), folder)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the library's text, which decides what a shard is."""
    copy = tmp_path / "library"
    shutil.copytree(shards.LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(shards, "LIBRARY", copy)
    return copy


def test_the_same_text_in_another_place_is_the_same_library(job, library, folder):
    known = shards.identity(job)
    assert all(shards.load_shard(path, known) for path in folder.iterdir())


def edited(library, name):
    path = library / name
    assert path.exists()
    with path.open("a") as file:
        file.write("# one more line\n")


@pytest.mark.parametrize(
    "name",
    [
        "figures/fig4.py",
        "response/scaling.py",
        "cli/making.py",
        "measurement/assemble.py",
        "measurement/results.py",
    ],
)
def test_shards_outlast_a_change_of_what_does_not_decide_their_bits(job, library, name):
    before = shards.identity(job)
    edited(library, name)
    assert shards.identity(job) == before


def rules():
    """The files that decide the bits of a shard."""
    found = shards.LIBRARY.glob("propagation/**/*.py")
    names = {path.relative_to(shards.LIBRARY).as_posix() for path in found}
    return sorted(
        names
        | {
            "metrics.py",
            "perturbation.py",
            "response/pairs.py",
            "measurement/sums.py",
            "measurement/memory.py",
        }
    )


@pytest.mark.parametrize("name", rules())
def test_shards_of_other_rules_are_others(job, library, name):
    before = shards.identity(job)
    edited(library, name)
    assert shards.identity(job) != before


def test_shards_of_other_rules_are_foreign(job, folder, library):
    edited(library, "propagation/rules/norms.py")
    assert_foreign(job, folder)


def test_every_file_that_decides_the_bits_of_a_shard_is_there():
    """A module that was renamed would no longer be seen."""
    missing = [
        name
        for name in shards.CODE
        if not ((shards.LIBRARY / name).is_dir() or (shards.LIBRARY / f"{name}.py").is_file())
    ]
    assert missing == []
    assert len(shards.code(shards.CODE)) >= len(shards.CODE)


def test_shards_of_other_threads_are_foreign(model, folder, monkeypatch):
    """Sums are taken in another order."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert_foreign(prepare(model, SETTINGS), folder)


def test_unknown_weights_cannot_be_resumed(tmp_path):
    with pytest.raises(ValueError, match=r"\Ashards: [^\n]*weights[^\n]*\Z"):
        measure(tiny_model("llama"), SETTINGS, shards=tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []


def test_results_by_name_go_on_after_an_interruption(weights, tmp_path, stored, monkeypatch):
    """As with Ctrl-C: finished shards stay beside the file to come, and go when it is there."""
    name, one_shard = str(weights / "tiny"), workers.measure_shard
    measured = []

    def interrupted(*arguments):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(arguments)
        return one_shard(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "measure_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            results_for(name, SETTINGS, tmp_path)
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".shards"
    assert len(list(left.iterdir())) == 4

    def counted(*arguments):
        measured.append(arguments)
        return one_shard(*arguments)

    monkeypatch.setattr(workers, "measure_shard", counted)
    found = results_for(name, SETTINGS, tmp_path)
    assert len(measured) == SHARDS
    (saved,) = tmp_path.iterdir()
    assert saved.suffix == ".nc"
    assert_same(found, stored)
    # From the file, from now on.
    results_for(name, SETTINGS, tmp_path)
    assert len(measured) == SHARDS
