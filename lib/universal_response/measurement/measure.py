"""Settings -> Dataset: measure a model, shard by shard, here or on the workers of an executor."""

import functools
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.assemble import assemble
from universal_response.measurement.settings import Settings, sources_of, tokens_of
from universal_response.measurement.shards import (
    Job,
    Shard,
    identity,
    load_shard,
    measure_shard,
    save_shard,
    shards_of,
    token_passes,
)
from universal_response.measurement.subject import describe
from universal_response.models import load_model, load_tokenizer
from universal_response.propagation import choose_products
from universal_response.sequences import token_labels

_BAR = {"unit": "tok", "unit_scale": True}


def measure(
    model: TransformerBridge | str,
    settings: Settings,
    progress: bool = False,
    shards: str | Path | None = None,
    executor: Executor | None = None,
) -> xr.Dataset:
    """Measure the response of a model to weak single-token perturbations.

    Args:
        model: a TransformerBridge, measured as it is (its own dtype and device, which the
            attributes of the result record), or what `load_model` takes.
        settings: what to measure.
        progress: show a progress bar, counted in tokens passed through the model.
        shards: folder in which every finished part is kept at once. A measurement that was killed
            goes on from there, and ends with the same bits as one that was not.
        executor: where the parts are measured, several at a time: any `concurrent.futures` executor
            whose workers are processes, such as that of a Dask client. Every worker loads the model
            once, by its name; this process does not. The numbers are those of a measurement without
            executor on a worker's device.

    Returns:
        Dataset in the schema of the book's page on data, with provenance attributes. Numbers are
        float32, or float64 for a float64 model. Standard errors are nan for a single sequence.
        Tokens that were given have a `token_label` where there is a tokenizer.

    Raises:
        ValueError: a sequence exceeds the model's context, a token is not in its vocabulary,
            `shards` for a model of unknown weights, or `executor` for a model that is not named.
        BrokenExecutor: the workers died; finished shards are kept.
    """
    if executor is not None and not isinstance(model, str):
        raise ValueError("executor: workers load the model themselves; give its name or folder")
    if isinstance(model, str):
        # The one a bridge carries has been changed (`load_tokenizer`), and takes longer to load.
        tokenizer = load_tokenizer(model) if settings.tokens else None
        if executor is None:
            model = load_model(
                model, settings.device, settings.dtype, tokenizer=False, progress=progress
            )
    else:
        tokenizer = getattr(model, "tokenizer", None)
    if isinstance(model, str):
        assert executor is not None
        job, effect = executor.submit(_prepare_by_name, model, settings).result()
    else:
        job, effect = _prepare(model, settings)
    parts = _measure_shards(model, job, progress, Path(shards) if shards else None, executor)
    dataset = assemble(job, parts).assign_attrs(products_effect=effect)
    if settings.tokens and tokenizer is not None:
        dataset["token_label"] = (("sequence", "token"), token_labels(job.tokens, tokenizer))
    return dataset


def _prepare(model: TransformerBridge, settings: Settings) -> tuple[Job, float]:
    """The measurement in all detail, and the effect of the number type of its products."""
    subject = describe(model)
    if settings.perturbed_position >= len(subject.positions):
        raise ValueError(
            f"perturbed_position={settings.perturbed_position}: the model has positions 0 to "
            f"{len(subject.positions) - 1}"
        )
    tokens = tokens_of(settings, subject.context, subject.vocabulary)
    sources = sources_of(settings)
    choice = choose_products(
        model,
        torch.from_numpy(tokens),
        settings.products,
        perturbation=settings.perturbation,
        perturbed_position=settings.perturbed_position,
    )
    return Job(subject, replace(settings, products=choice.products), tokens, sources), choice.effect


def _measure_shards(
    model: TransformerBridge | str,
    job: Job,
    progress: bool,
    folder: Path | None,
    executor: Executor | None,
) -> dict[Shard, dict[str, np.ndarray]]:
    """Measure what is not yet in the folder; the parts of all shards, in order."""
    planned = shards_of(job)
    known = identity(job) if folder else ""
    done = {shard: load_shard(folder / shard.file, known) for shard in planned if folder}
    missing = [shard for shard in planned if not done.get(shard)]
    passes = {shard: token_passes(job, shard) for shard in planned}
    total = sum(passes.values())
    finished = total - sum(passes[shard] for shard in missing)
    with tqdm(total=total, initial=finished, **_BAR, disable=not progress) as bar:
        if isinstance(model, str):
            assert executor is not None
            measured = _measured_elsewhere(executor, model, job, missing)
        else:
            measured = ((shard, measure_shard(model, job, shard, bar.update)) for shard in missing)
        for shard, parts in measured:
            done[shard] = parts
            if folder:
                save_shard(folder / shard.file, known, parts)
            if executor is not None:
                bar.update(passes[shard])
    return {shard: done[shard] for shard in planned}


def _measured_elsewhere(
    executor: Executor, model: str, job: Job, missing: list[Shard]
) -> Iterator[tuple[Shard, dict[str, np.ndarray]]]:
    """Shards in the order in which the workers finish them."""
    futures = {executor.submit(_measure_by_name, model, job, shard): shard for shard in missing}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


# One measurement at a time in a worker: hooks are attached to the model, which threads would share.
_IN_WORKER = threading.Lock()


@functools.lru_cache(maxsize=1)
def _model_of_worker(name: str, device: str, dtype: str) -> TransformerBridge:
    return load_model(name, device, dtype, tokenizer=False)


def _prepare_by_name(name: str, settings: Settings) -> tuple[Job, float]:
    with _IN_WORKER:
        return _prepare(_model_of_worker(name, settings.device, settings.dtype), settings)


def _measure_by_name(name: str, job: Job, shard: Shard) -> dict[str, np.ndarray]:
    with _IN_WORKER:
        model = _model_of_worker(name, job.settings.device, job.settings.dtype)
        return measure_shard(model, job, shard)
