"""Interleaved repetitions, with peak memory beside the weights."""

import contextlib
import ctypes
import gc
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch
from tqdm import tqdm

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """Repetitions of one contender.

    Attributes:
        seconds: of every repetition, in the order they were run.
        peak_bytes: most memory beside what was there before, over the repetitions.
    """

    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleaved(
    contenders: Mapping[str, Callable[[], Result]],
    repetitions: int,
    device: torch.device,
    before: Callable[[], object] = lambda: None,
) -> tuple[dict[str, Timing], dict[str, Result]]:
    """Run all contenders in turn, several times over: a slow minute then hits every one.

    Args:
        contenders: name -> what is timed.
        repetitions: how often each is run.
        device: whose memory counts.
        before: called before every run, and not timed.

    Returns:
        Timings, and what the contenders returned the last time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = dict.fromkeys(contenders, 0)
    results = {}
    with tqdm(total=repetitions * len(contenders)) as bar:
        for _ in range(repetitions):
            for name, contender in contenders.items():
                bar.set_description(name)
                before()
                with PeakMemory(device) as peak:
                    start = time.perf_counter()
                    results[name] = contender()
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    seconds[name].append(time.perf_counter() - start)
                peaks[name] = max(peaks[name], peak.bytes)
                bar.update()
    timings = {name: Timing(tuple(seconds[name]), peaks[name]) for name in contenders}
    return timings, results


class PeakMemory:
    """Most memory in use inside the context beyond that in use at its start.

    On a GPU that of PyTorch's allocator. On a CPU the resident memory of the process, seen every
    few milliseconds, after memory that was freed earlier has gone back to the system.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes = 0

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self.start = torch.cuda.memory_allocated(self.device)
            return self
        _give_back()
        self.process = psutil.Process()
        self.start = self.process.memory_info().rss
        self.stop = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self.start
            return
        self.stop.set()
        self.watcher.join()

    def _watch(self) -> None:
        while not self.stop.wait(0.01):
            self.bytes = max(self.bytes, self.process.memory_info().rss - self.start)


def _give_back() -> None:
    """Return freed memory to the system, where the C library can."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
