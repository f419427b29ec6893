"""Shards measured by other processes: a pool, and a real Dask cluster of two workers."""

import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from tiny_models import tiny_hf_model, tiny_model
from universal_response import Settings, load_model, measure
from universal_response.measurement import workers

SETTINGS = Settings(t0=6, batch=3, epsilons=(0.01, 0.05), sequences_per_chunk=1, device="cpu")
SHARDS = 2 * SETTINGS.batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny"
    tiny_hf_model("llama").save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def expected(folder):
    return measure(load_model(folder, device="cpu", tokenizer=False), SETTINGS)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as found,
        distributed.Client(found) as client,
    ):
        yield client


def assert_same(found, expected):
    assert set(found.data_vars) == set(expected.data_vars)
    for name in expected.data_vars:
        # Workers sum in one thread, this process perhaps in two.
        np.testing.assert_allclose(
            found[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=str(name)
        )
    ours = {"created", "wall_time_s", "device"}
    assert {k: v for k, v in found.attrs.items() if k not in ours} == {
        k: v for k, v in expected.attrs.items() if k not in ours
    }


@pytest.mark.slow
def test_a_process_pool_gives_the_same(folder, expected):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert_same(measure(folder, SETTINGS, executor=pool), expected)


def test_threads_give_the_same(folder, expected):
    """They share one model and take turns."""
    with ThreadPoolExecutor(3) as pool:
        assert_same(measure(folder, SETTINGS, executor=pool), expected)


@pytest.mark.slow
def test_a_cluster_gives_the_same(folder, expected, cluster, tmp_path):
    with cluster.get_executor(pure=False) as executor:
        found = measure(folder, SETTINGS, shards=tmp_path / "shards", executor=executor)
        assert_same(found, expected)
        assert len(list((tmp_path / "shards").iterdir())) == SHARDS
        again = measure(folder, SETTINGS, shards=tmp_path / "shards", executor=executor)
    for name in found.data_vars:
        assert np.array_equal(found[name], again[name], equal_nan=found[name].dtype.kind == "f")


@pytest.mark.slow
def test_a_killed_worker_costs_no_shard(folder, expected, cluster, tmp_path):
    """SIGKILL to one of the workers while shards are being measured."""
    shards, killed = tmp_path / "shards", []

    def kill():
        while not list(shards.glob("*.npz")):
            time.sleep(0.001)
        victim = next(iter(cluster.run(os.getpid).values()))
        os.kill(victim, signal.SIGKILL)
        killed.append(len(list(shards.glob("*.npz"))))

    watcher = threading.Thread(target=kill)
    watcher.start()
    more = Settings(
        t0=16, batch=12, epsilons=(0.01, 0.05), sequences_per_chunk=1, device="cpu", linear=False
    )
    with cluster.get_executor(pure=False) as executor:
        found = measure(folder, more, shards=shards, executor=executor)
    watcher.join()
    assert 0 < killed[0] < more.batch  # while it was under way
    assert len(list(shards.glob("*.npz"))) == more.batch
    alone = measure(load_model(folder, device="cpu", tokenizer=False), more)
    assert_same(found, alone)


def test_a_worker_loads_the_model_once(folder, monkeypatch):
    loaded = []

    def counted(*arguments, **named):
        loaded.append(arguments)
        return load_model(*arguments, **named)

    workers._model_of_worker.cache_clear()
    monkeypatch.setattr(workers, "load_model", counted)
    with ThreadPoolExecutor(1) as pool:
        measure(folder, SETTINGS, executor=pool)
    assert len(loaded) == 1


def test_a_model_in_hand_cannot_be_sent(tmp_path):
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(ValueError, match=r"\Aexecutor: [^\n]*name[^\n]*\Z"),
    ):
        measure(tiny_model("llama"), SETTINGS, executor=pool)


def test_a_failing_worker_is_told_and_shards_are_kept(folder, tmp_path, monkeypatch):
    one_shard, measured = workers.measure_shard, []

    def failing(*arguments, **named):
        measured.append(arguments)
        if len(measured) == 3:
            raise MemoryError("no memory")
        return one_shard(*arguments, **named)

    monkeypatch.setattr(workers, "measure_shard", failing)
    with ThreadPoolExecutor(1) as pool, pytest.raises(MemoryError, match="no memory"):
        measure(folder, SETTINGS, shards=tmp_path / "shards", executor=pool)
    assert len(list((tmp_path / "shards").glob("*.npz"))) == 2
