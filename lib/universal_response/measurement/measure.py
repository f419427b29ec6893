"""Settings -> Dataset: measure a model, shard by shard, here or on the workers of an executor."""

from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response.measurement.assemble import assemble
from universal_response.measurement.job import Job, Shard, shards_of, token_passes
from universal_response.measurement.results import made_into
from universal_response.measurement.settings import Settings
from universal_response.measurement.shards import identity, load_shard, save_shard
from universal_response.measurement.workers import Here, Place, Workers
from universal_response.models import load_model, load_tokenizer
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
    # The tokenizer a bridge carries has been changed (`load_tokenizer`), and loads more slowly.
    tokenizer = _tokenizer_of(model) if settings.tokens else None
    place = _place_of(model, settings, progress, executor)
    job = place.prepared(settings)
    dataset = assemble(job, _measured(place, job, progress, Path(shards) if shards else None))
    if tokenizer is not None:
        dataset["token_label"] = (("sequence", "token"), token_labels(job.tokens, tokenizer))
    return dataset


def measure_into(
    path: str | Path,
    model: TransformerBridge | str,
    settings: Settings,
    progress: bool = False,
    executor: Executor | None = None,
) -> xr.Dataset:
    """Measure and save, with the finished shards beside the file until it is written.

    The same call goes on after a kill. Arguments are those of `measure`.

    Returns:
        What `load_results` reads from the file.

    Raises:
        ValueError: the path is a folder, or as for `measure`.
    """
    return made_into(
        path, lambda shards: measure(model, settings, progress, shards, executor), suffix=".shards"
    )


def _tokenizer_of(model: TransformerBridge | str) -> Any:
    return load_tokenizer(model) if isinstance(model, str) else getattr(model, "tokenizer", None)


def _place_of(
    model: TransformerBridge | str, settings: Settings, progress: bool, executor: Executor | None
) -> Place:
    """The model, ready to be measured: the only place where it may be a name."""
    if not isinstance(model, str):
        if executor is not None:
            raise ValueError("executor: workers load the model themselves; give its name or folder")
        return Here(model)
    if executor is not None:
        return Workers(executor, model)
    return Here(
        load_model(model, settings.device, settings.dtype, tokenizer=False, progress=progress)
    )


def _measured(
    place: Place, job: Job, progress: bool, folder: Path | None
) -> dict[Shard, dict[str, np.ndarray]]:
    """The parts of all shards, in order; measured is what is not yet in the folder."""
    planned = shards_of(job)
    known = identity(job) if folder else ""
    done = {shard: load_shard(folder / shard.file, known) for shard in planned if folder}
    missing = [shard for shard in planned if not done.get(shard)]
    passes = {shard: token_passes(job, shard) for shard in planned}
    total = sum(passes.values())
    finished = total - sum(passes[shard] for shard in missing)
    with (
        tqdm(total=total, initial=finished, **_BAR, disable=not progress) as bar,
        # Closed in any case: what the workers have not begun is not waited for.
        closing(place.measured(job, missing, bar.update)) as measured,
    ):
        for shard, parts in measured:
            done[shard] = parts
            if folder:
                save_shard(folder / shard.file, known, parts)
    return {shard: done[shard] for shard in planned}
