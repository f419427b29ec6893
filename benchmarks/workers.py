"""The same measurement by one and by two worker processes."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed import Client, LocalCluster, wait
from universal_response.measurement import Settings, measure


def workers(model: str, settings: Settings, repetitions: int) -> dict[str, Any]:
    """Time a measurement on Dask clusters of one and of two workers, in turn.

    Every worker computes in one thread, as Dask arranges by itself, and has loaded the model before
    it is timed.

    Args:
        model: registered name or folder.
        settings: what to measure; needs as many shards as workers, better several times that.
        repetitions: how often each is run.

    Returns:
        Seconds of every repetition, and how many times faster two workers are than one (medians).
    """
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repetitions):
        for number in seconds:
            seconds[number].append(_seconds(model, settings, number))
    one, two = (statistics.median(seconds[number]) for number in (1, 2))
    return {
        "one_worker_s": [round(s, 2) for s in seconds[1]],
        "two_workers_s": [round(s, 2) for s in seconds[2]],
        "times_faster": round(one / two, 3),
    }


def _seconds(model: str, settings: Settings, number: int) -> float:
    with (
        LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=None,
        ) as cluster,
        Client(cluster) as client,
        client.get_executor(pure=False) as executor,
    ):
        small = Settings(t0=2, batch=1, epsilons=(0.1,), epsilon0=0.1, device=settings.device)
        each = [
            client.submit(_measured, model, small, workers=[worker], pure=False)
            for worker in client.scheduler_info()["workers"]
        ]
        wait(each)
        start = time.perf_counter()
        measure(model, settings, executor=executor)
        return time.perf_counter() - start


def _measured(model: str, settings: Settings) -> None:
    """Measure something small in the way of a worker, which then keeps the model."""
    with ThreadPoolExecutor(1) as pool:
        measure(model, settings, executor=pool)
