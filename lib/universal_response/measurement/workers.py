"""Where a measurement runs: in this process, or on the workers of an executor."""

import functools
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.job import Job, Shard, prepare, token_passes
from universal_response.measurement.settings import Settings
from universal_response.measurement.sums import measure_shard
from universal_response.models import load_model

Measured = Generator[tuple[Shard, dict[str, np.ndarray]]]


@runtime_checkable
class Place(Protocol):
    """A model somewhere, ready to be measured."""

    def prepared(self, settings: Settings) -> Job:
        """The measurement in all detail."""

    def measured(
        self, job: Job, shards: list[Shard], progress: Callable[[int], object]
    ) -> Measured:
        """Shards as they are finished, with progress in token-passes."""


@dataclass(frozen=True)
class Here:
    """A loaded model in this process."""

    model: TransformerBridge

    def prepared(self, settings: Settings) -> Job:
        return prepare(self.model, settings)

    def measured(
        self, job: Job, shards: list[Shard], progress: Callable[[int], object]
    ) -> Measured:
        for shard in shards:
            yield shard, measure_shard(self.model, job, shard, progress)


@dataclass(frozen=True)
class Workers:
    """Processes that load the model themselves, once each, by its name."""

    executor: Executor
    model: str

    def prepared(self, settings: Settings) -> Job:
        return self.executor.submit(_prepare_by_name, self.model, settings).result()

    def measured(
        self, job: Job, shards: list[Shard], progress: Callable[[int], object]
    ) -> Measured:
        """In the order in which the workers finish them."""
        futures = {
            self.executor.submit(_measure_by_name, self.model, job, shard): shard
            for shard in shards
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
                progress(token_passes(job, futures[future]))
        finally:
            for future in futures:
                future.cancel()


# One measurement at a time in a worker: hooks are attached to the model, which threads would share.
_IN_WORKER = threading.Lock()


@functools.lru_cache(maxsize=1)
def _model_of_worker(name: str, device: str, dtype: str) -> TransformerBridge:
    return load_model(name, device, dtype, tokenizer=False)


def _prepare_by_name(name: str, settings: Settings) -> Job:
    with _IN_WORKER:
        return prepare(_model_of_worker(name, settings.device, settings.dtype), settings)


def _measure_by_name(name: str, job: Job, shard: Shard) -> dict[str, np.ndarray]:
    with _IN_WORKER:
        model = _model_of_worker(name, job.settings.device, job.settings.dtype)
        return measure_shard(model, job, shard)
