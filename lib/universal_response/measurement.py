"""Settings -> xarray.Dataset: measure, resume, save, load, verify, with provenance."""

import functools
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import xarray as xr
from tqdm import tqdm
from transformer_lens.model_bridge import TransformerBridge

from universal_response.metrics import LINEAR_METRICS, METRICS, ResponseMatrix
from universal_response.models import (
    DTYPES,
    Provenance,
    architecture,
    load_model,
    load_tokenizer,
    weights_sha256,
)
from universal_response.propagation import (
    InnerProducts,
    Position,
    chunked_inner_products,
    inner_products,
    linear_inner_products,
    positions,
)
from universal_response.response import last, measured_floor, noise, response_function, window
from universal_response.sequences import (
    passages,
    repeated_random_tokens,
    token_labels,
    tokens_of_text,
)

SCHEMA_VERSION = 2
DEFAULT_EPSILONS = (3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5)

# Inner products of some strengths, and the metrics made of them, stay below this and below an
# eighth of the device's memory. A processor is as fast with one strength as with several, as soon
# as its suffixes fill a few passes; a GPU wants many.
CHUNK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 33}
# No more than this is lost when a measurement is killed.
SEQUENCES_PER_SHARD = 2

# Leading bits kept of stored float32 numbers, so that they compress: averages to 8e-6 (the
# model itself rounds worse), the witness to 1e-4, what is averaged again to 5e-4, errors to 4e-3.
STORED_BITS = {
    **dict.fromkeys(("response", "linear", "matrix"), 16),
    **dict.fromkeys(("witness", "last_linear"), 12),
    **dict.fromkeys(("last_response", "peak_response", "window_response"), 10),
    **dict.fromkeys(("response_sem", "linear_sem", "floor"), 7),
}

RANDOM = "repeated random tokens"

_PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "xarray", "universal-response")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured: repeated random tokens, or the tokens given.

    Attributes:
        t0: length T0 of the repeated block; a random sequence has T = 2 T0 tokens. With `tokens`
            given, 0 says that nothing is known to repeat.
        batch: number of sequences averaged over (the paper has 32); that of `tokens` if given.
        epsilons: perturbation strengths, each in (0, 1].
        epsilon0: reference strength of the response matrix; one of `epsilons`.
        seed: of the random tokens; 0 with `tokens` given.
        dtype: of the model, where `measure` loads it.
        device: for the model, where `measure` loads it.
        sequences_per_chunk: sequences measured at a time; chosen from the memory they need if None.
        noise_floor: measure the rounding error as well (`floor_epsilon`).
        linear: measure the exact limit epsilon -> 0 as well; costs little more than two strengths.
        tokens: token ids (sequence, token) to measure instead of random ones.
        text_sha256: where the tokens come from a text, digest of it and of how it was cut.

    Raises:
        ValueError: a setting is out of range.
    """

    t0: int = 64
    batch: int = 32
    epsilons: tuple[float, ...] = DEFAULT_EPSILONS
    epsilon0: float = 0.05
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    sequences_per_chunk: int | None = None
    noise_floor: bool = True
    linear: bool = True
    tokens: tuple[tuple[int, ...], ...] | None = None
    text_sha256: str = ""

    @classmethod
    def for_tokens(cls, tokens: Any, t0: int = 0, **others: Any) -> "Settings":
        """Settings to measure these token ids.

        Args:
            tokens: array of whole numbers (sequence, token), or lists of equal length.
            t0: length of a block that every sequence holds twice in a row; 0 if there is none.
            others: as for `Settings`.
        """
        return cls(tokens=_token_rows(tokens), t0=t0, **others)

    @classmethod
    def for_text(
        cls,
        text: str,
        tokenizer: Any,
        bos: bool | None = None,
        repeat: bool = False,
        length: int | None = None,
        **others: Any,
    ) -> "Settings":
        """Settings to measure a text, by `tokens_of_text`."""
        tokens = tokens_of_text(text, tokenizer, bos, repeat, length)
        t0 = tokens.shape[1] // 2 if repeat else 0
        digest = _text_sha256(text, bos, repeat, length)
        return cls.for_tokens(tokens, t0, text_sha256=digest, **others)

    @property
    def input(self) -> str:
        """What is measured, in words (`repeated random tokens`, `tokens` or `text`)."""
        return RANDOM if self.tokens is None else "text" if self.text_sha256 else "tokens"

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilons", tuple(float(epsilon) for epsilon in self.epsilons))
        if self.tokens is not None:
            object.__setattr__(self, "tokens", _token_rows(self.tokens))
            _check_tokens(self.tokens, self.t0)
            object.__setattr__(self, "batch", len(self.tokens))
            object.__setattr__(self, "seed", 0)
        elif self.t0 < 2:
            raise ValueError(
                f"t0={self.t0}: the repeated block needs at least 2 tokens; use t0 >= 2"
            )
        if self.batch < 1:
            raise ValueError(f"batch={self.batch}: use at least one sequence, batch >= 1")
        if not self.epsilons:
            raise ValueError("epsilons=(): give at least one strength in (0, 1]")
        for epsilon in self.epsilons:
            if not 0 < epsilon <= 1:
                raise ValueError(f"epsilons: {epsilon:g} is outside (0, 1]; use 0 < epsilon <= 1")
        if len(set(self.epsilons)) < len(self.epsilons):
            raise ValueError(f"epsilons={self.epsilons}: a strength is given twice; give each once")
        if self.epsilon0 not in self.epsilons:
            raise ValueError(
                f"epsilon0={self.epsilon0:g}: must be one of epsilons={self.epsilons}; add it there"
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype}: choose one of {', '.join(DTYPES)}")
        if self.sequences_per_chunk is not None and self.sequences_per_chunk < 1:
            raise ValueError(
                f"sequences_per_chunk={self.sequences_per_chunk}: use at least 1, or None to choose"
            )


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
        Dataset in the schema of the book's page on data: `tokens`, `response`, `response_sem`,
        `matrix`, `witness`, `last_response`, `peak_response`, `window_response`, and if asked
        `floor`, `linear`, `linear_sem`, `last_linear`, with provenance attributes. Numbers are
        float32, or float64 for a float64 model. Standard errors are nan for a single sequence.
        Tokens that were given have a `token_label` where there is a tokenizer; with t0 = 0 they
        have no `peak_response` and `window_response`.

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
        about = executor.submit(_describe_by_name, model, settings).result()
    else:
        about = _describe(model)
    tokens = _tokens(about, settings)
    weakest, floor = min(settings.epsilons), floor_epsilon(about.dtype)
    if weakest < 10 * floor:
        warnings.warn(
            f"epsilons: {weakest:g} is lost to rounding in {about.dtype}; use at least "
            f"{10 * floor:.1g}",
            stacklevel=2,
        )
    folder = Path(shards) if shards else None
    parts = _measure_shards(model, about, tokens, settings, progress, folder, executor)
    dataset = _assemble(about, tokens, settings, parts)
    _warn_under_floor(dataset)
    if settings.tokens and tokenizer is not None:
        dataset["token_label"] = (("sequence", "token"), token_labels(tokens, tokenizer))
    return dataset


def _warn_under_floor(dataset: xr.Dataset) -> None:
    """Warn of strengths whose response at l = 2L is on average hardly above its rounding error."""
    if "floor" not in dataset:
        return
    at = {"metric": "delta", "position": last(dataset)}
    floor = float(dataset.floor.sel(at).mean())
    size = dataset.response.sel(at).mean("delta_j")
    lost = [float(epsilon) for epsilon in size.epsilon[size.values < 3 * floor]]
    if lost:
        clear = 10 * floor * float(size.epsilon.max() / size.sel(epsilon=size.epsilon.max()))
        warnings.warn(
            f"epsilons: {', '.join(f'{epsilon:g}' for epsilon in lost)} lie within three times the "
            f"noise floor of this model in {dataset.attrs['dtype']}; use at least {clear:.1g}",
            stacklevel=3,
        )


def floor_epsilon(dtype: torch.dtype) -> float:
    """Strength at which the rounding error is measured: one unit in the last place.

    At epsilon = 0 the suffix pass repeats the very operations of the clean pass and can agree with
    it bit for bit, so that nothing is measured. The smallest strength that the dtype resolves sets
    every later rounding anew, while the response proper is far below the rounding error. Never
    below that of float32, in which Hugging Face norms and rotary embeddings compute.
    """
    return max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def save_results(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a Dataset as NetCDF, complete or not at all, with a digest of its numbers.

    float32 numbers are rounded to the bits that carry information (`STORED_BITS`).

    Returns:
        The path written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = dataset.assign(
        {
            name: dataset[name].copy(data=_round_mantissa(dataset[name].values, bits))
            for name, bits in STORED_BITS.items()
            if name in dataset and dataset[name].dtype == np.float32
        }
    )
    sealed = stored.assign_attrs(content_sha256=_content_sha256(stored))
    packed = {"zlib": True, "complevel": 9, "shuffle": True}
    # Strings of any length cannot be packed.
    encoding = {name: packed for name, values in dataset.items() if values.dtype.kind not in "OUT"}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        partial = Path(folder) / path.name
        sealed.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        os.replace(partial, path)
    return path


def load_results(path: str | Path) -> xr.Dataset:
    """Read a results file and check that it is whole.

    Args:
        path: a NetCDF file that `save_results` wrote.

    Returns:
        Dataset in the schema of the book's page on data.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a results file, damaged, changed since it was written, or of another
            schema version.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"results={path}: no such file; measure it first")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"results={path}: not a readable NetCDF file; measure it again") from error
    found = dataset.attrs.get("schema_version", "none")
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"results={path}: schema version {found}, this library reads {SCHEMA_VERSION}; "
            "measure it again"
        )
    if dataset.attrs.get("content_sha256") != _content_sha256(dataset):
        raise ValueError(
            f"results={path}: the numbers do not match the file's digest, they were changed after "
            "the measurement; restore the file or measure it again"
        )
    return dataset


def results_for(
    model: str,
    settings: Settings,
    folder: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
) -> xr.Dataset:
    """Results with exactly these settings: read from a file, or else measured and saved.

    Any file counts whose model, weights, T0, batch, strengths, reference strength, seed, dtype and
    given tokens are those asked for, with floor and linear limit if they are asked for. The device
    may differ. A new measurement is that of `measure_into`.

    Args:
        model: what `load_model` takes, or a results file (.nc), which is taken as it is.
        settings: what to measure.
        folder: where files are looked for, and where a new measurement is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show progress bars while measuring.
    """
    if model.endswith(".nc"):
        return load_results(model)
    folder = Path(folder)
    for dataset in _files_in(*also, folder):
        if _answers(dataset, model, settings):
            return dataset
    return measure_into(folder / results_name(model, settings), model, settings, progress)


def results_for_text(
    model: str,
    text: str,
    folder: str | Path = "runs",
    also: Sequence[str | Path] = (),
    progress: bool = False,
    bos: bool | None = None,
    repeat: bool = False,
    length: int | None = None,
    **others: Any,
) -> xr.Dataset:
    """`results_for` a text: found again by a digest of it, so that no tokenizer is needed for that.

    Args:
        model: what `load_model` takes.
        text: passages separated by blank lines.
        folder: as for `results_for`.
        also: as for `results_for`.
        progress: as for `results_for`.
        bos: as for `tokens_of_text`, and so `repeat` and `length`.
        repeat: write every passage twice.
        length: tokens kept of each passage.
        others: further `Settings`.

    Raises:
        ValueError: the model has no tokenizer, or the text is too short.
    """
    digest = _text_sha256(text, bos, repeat, length)
    for dataset in _files_in(*also, folder):
        if dataset.attrs.get("text_sha256") == digest:
            found = settings_of(dataset)
            asked = Settings(
                tokens=found.tokens, t0=found.t0, text_sha256=found.text_sha256, **others
            )
            if _answers(dataset, model, asked):
                return dataset
    tokenizer = load_tokenizer(model)
    settings = Settings.for_text(text, tokenizer, bos, repeat, length, **others)
    return results_for(model, settings, folder, also, progress)


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
    """
    path = Path(path)
    shards = path.with_suffix(".shards")
    save_results(measure(model, settings, progress, shards, executor), path)
    shutil.rmtree(shards, ignore_errors=True)
    return load_results(path)


def results_name(model: str, settings: Settings) -> str:
    """File name of a measurement: model, T0, batch, seed and a digest of the other settings."""
    stem = Path(model).name if Path(model).is_dir() else model.replace("/", "--")
    asked = (settings.noise_floor, settings.linear)
    given = () if settings.tokens is None else (settings.tokens,)
    other = repr((settings.epsilons, settings.epsilon0, settings.dtype, *asked, *given))
    digest = hashlib.sha256(other.encode()).hexdigest()[:8]
    drawn = f"s{settings.seed}" if settings.tokens is None else settings.input
    return f"{stem}-t{settings.t0}-b{settings.batch}-{drawn}-{digest}.nc"


def settings_of(dataset: xr.Dataset) -> Settings:
    """The settings a Dataset was measured with, for measuring it again.

    Args:
        dataset: results, measured just now or read from a file.

    Returns:
        Settings that hold the tokens, if they were given. `device` and `sequences_per_chunk` are
        the defaults, since they change no more than rounding.
    """
    attrs = dataset.attrs
    random = attrs["input"] == RANDOM
    return Settings(
        tokens=None if random else _token_rows(dataset.tokens.values),
        text_sha256=str(attrs.get("text_sha256", "")),
        t0=int(attrs["t0"]),
        batch=int(attrs["batch"]),
        epsilons=tuple(dataset.epsilon.values.tolist()),
        epsilon0=float(attrs["epsilon0"]),
        seed=int(attrs["seed"]) if random else 0,
        dtype=str(attrs["dtype"]),
        noise_floor="floor" in dataset,
        linear="linear" in dataset,
    )


def architecture_of(dataset: xr.Dataset) -> dict[str, str | int]:
    """What Table 1 says of the measured model (`models.architecture`), as the results record it."""
    return json.loads(dataset.attrs["architecture"])


@dataclass(frozen=True)
class Verification:
    """Outcome of measuring the witness sequence of a results file again.

    Attributes:
        compared: how many numbers were compared.
        worst: largest |new - shipped| as a multiple of what is allowed; at most 1 if they agree.
        where: metric, epsilon (0 for the linear limit), position and delta_j of that number.
        median_relative: median of |new - shipped| / |shipped| over delta above its noise.
    """

    compared: int
    worst: float
    where: dict[str, object]
    median_relative: float

    @property
    def agrees(self) -> bool:
        return self.worst <= 1


def verify(
    dataset: xr.Dataset,
    model: TransformerBridge | None = None,
    progress: bool = False,
    quick: bool = False,
) -> Verification:
    """Measure the first sequence of a Dataset again and compare with the shipped `witness`.

    Allowed is 1e-3 relative (for the cosines: 1e-3 absolute) plus five times the measured noise of
    each number (`response.noise`): among some 400 000 numbers, about five standard deviations are
    to be expected once. The linear limit of the first sequence, where there is one, is measured
    again at l = 2L.

    Args:
        dataset: results with `witness` and `floor`.
        model: the model they belong to; loaded by its recorded name if None.
        progress: show a progress bar.
        quick: only the weakest, the strongest and the reference strength, and no linear limit.

    Raises:
        ValueError: the weights or the tokens are not those recorded, or no floor was measured.
        WeightsUnavailable: the weights are not to be had.
    """
    if quick:
        ends = (float(dataset.epsilon.min()), float(dataset.epsilon.max()))
        chosen = {*ends, float(dataset.attrs["epsilon0"])}
        dataset = dataset.sel(epsilon=dataset.epsilon.isin(list(chosen)))
    settings = settings_of(dataset)
    shipped = dataset.witness
    floor = measured_floor(dataset)
    model = model or load_model(
        dataset.attrs["model"], dtype=settings.dtype, tokenizer=False, progress=progress
    )
    recorded = dataset.attrs["weights_sha256"]
    loaded = getattr(model, "provenance", Provenance()).weights_sha256
    if "unknown" not in (loaded, recorded) and loaded != recorded:
        raise ValueError(
            f"weights_sha256={recorded}: the model at hand has {loaded}; use the recorded weights"
        )
    tokens = _tokens(_describe(model), settings)
    if not np.array_equal(tokens, dataset.tokens.values):
        raise ValueError(f"tokens: not those of seed={settings.seed}; the file was changed")
    strengths = _strengths(model.cfg.dtype, settings)
    with tqdm(total=_token_passes(tokens[:1], len(strengths)), **_BAR, disable=not progress) as bar:
        products = inner_products(
            torch.from_numpy(tokens[:1]), model, strengths, progress=bar.update
        )
    responses = _response_functions(products, METRICS)
    found = shipped.copy(data=responses[0][:, : len(settings.epsilons)])
    # This machine may round more coarsely than that of the file.
    floor = floor.copy(data=np.maximum(floor, responses[0][:, -1]))
    # A mean over few sources scatters about the floor of that distance, up to the largest floor.
    scatter = floor.max("delta_j") / np.sqrt(shipped.sizes["delta_j"] - shipped.delta_j)
    rounding = noise(dataset.assign(response=shipped, floor=floor + scatter))
    is_cosine = shipped.metric.str.startswith("theta")
    rounding = np.maximum(rounding, xr.where(is_cosine, _cosine_noise(products, shipped), 0.0))
    excess = _excess(found, shipped, 5 * rounding)
    if settings.linear and not quick:
        excess = xr.concat(
            [excess, _linear_excess(model, tokens[:1], dataset)], "epsilon", join="outer"
        )
    at = excess.isel(excess.fillna(-1.0).argmax(...))
    of_delta = shipped.sel(metric="delta")
    clear = of_delta > 5 * rounding.sel(metric="delta")
    relative = (np.abs(found - shipped).sel(metric="delta") / of_delta.where(clear)).median()
    where = {name: at[name].item() for name in ("metric", "epsilon", "position", "delta_j")}
    return Verification(int(excess.count()), float(at), where, float(relative))


def _excess(found: xr.DataArray, shipped: xr.DataArray, rounding: xr.DataArray) -> xr.DataArray:
    """|found - shipped| as a multiple of what is allowed; infinite where it is not a number."""
    is_cosine = shipped.metric.str.startswith("theta")
    allowed = 1e-3 * xr.where(is_cosine, 1.0, np.abs(shipped)) + rounding
    difference = np.abs(found - shipped)
    # Where nothing is allowed, equality is asked for.
    return xr.where(difference == 0, 0.0, difference / allowed).fillna(np.inf)


def _linear_excess(
    model: TransformerBridge, tokens: np.ndarray, dataset: xr.Dataset
) -> xr.DataArray:
    """`_excess` of the linear limit of the first sequence at l = 2L; elsewhere not compared."""
    products = linear_inner_products(torch.from_numpy(tokens), model)
    found = _response_functions(products, LINEAR_METRICS)[0][:, 0, -1]
    shipped = dataset.last_linear.isel(sequence=0)
    # phi is a difference of inner products of size delta^2.
    size = shipped.sel(metric="delta") ** 2
    unit = float(np.finfo(shipped.dtype).eps)
    rounding = xr.where(shipped.metric == "phi", 100 * unit * size, 0.0)
    excess = _excess(shipped.copy(data=found), shipped, rounding.transpose(*shipped.dims))
    return excess.expand_dims(epsilon=[0.0], position=dataset.position[-1:])


def _cosine_noise(products: InnerProducts, shipped: xr.DataArray) -> xr.DataArray:
    """Rounding error of a mean cosine: the mean over sources of floor / C_delta, source by source.

    The floor is the last strength. A few sources that hardly respond have cosines of pure rounding;
    the ratio of the mean floor to the mean response, carried by large ones, would not show it.

    Returns:
        DataArray (epsilon, position, delta_j).
    """
    size = METRICS["delta"](products)
    floor = size[:, -1:]
    t = floor.shape[-1]
    mean = floor.sum((-2, -1), keepdim=True) / (t * (t + 1) / 2)
    floor = torch.maximum(floor, mean)
    relative = torch.where(size > 0, (floor / size).clamp(max=2), torch.zeros_like(size))
    by_distance = response_function(relative)[:, :-1, 0].permute(1, 0, 2).cpu().numpy()
    return shipped.isel(metric=0, drop=True).copy(data=by_distance)


def _answers(dataset: xr.Dataset, model: str, settings: Settings) -> bool:
    """Whether a Dataset is what measuring a model with these settings would give."""
    names = ("t0", "batch", "epsilons", "epsilon0", "seed", "dtype", "tokens")
    found = settings_of(dataset)
    same = all(getattr(found, name) == getattr(settings, name) for name in names)
    floor = found.noise_floor or not settings.noise_floor
    linear = found.linear or not settings.linear
    if not (same and floor and linear and dataset.attrs["model"] == model):
        return False
    hashes = {dataset.attrs["weights_sha256"], weights_sha256(model)} - {"unknown"}
    return len(hashes) <= 1


def _files_in(*folders: str | Path) -> Iterator[xr.Dataset]:
    for path in sorted(path for folder in folders for path in Path(folder).glob("*.nc")):
        try:
            yield load_results(path)
        except ValueError as error:
            warnings.warn(f"{error}; skipped", stacklevel=3)


def _text_sha256(text: str, bos: bool | None, repeat: bool, length: int | None) -> str:
    asked = repr((passages(text), bos, repeat, length))
    return hashlib.sha256(asked.encode()).hexdigest()


def _token_rows(tokens: Any) -> tuple[tuple[int, ...], ...]:
    """The tokens as tuples of int.

    Raises:
        ValueError: no rows of whole numbers.
    """
    try:
        return tuple(tuple(index(token) for token in row) for row in tokens)
    except TypeError:
        raise ValueError(
            "tokens: not an array (sequence, token) of whole numbers; give a list of token ids for "
            "each sequence"
        ) from None


def _check_tokens(rows: tuple[tuple[int, ...], ...], t0: int) -> None:
    """Check that sequences can be measured together and that a block of t0 tokens is repeated.

    Raises:
        ValueError: none, ragged, a single token, or no such block.
    """
    if not rows or len(rows[0]) < 2:
        raise ValueError("tokens: give at least one sequence of at least 2 tokens")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"tokens: sequence {number} has {len(row)} of them, sequence 0 has {len(rows[0])}; "
                "make all sequences equally long"
            )
        starts = range(len(row) - 2 * t0 + 1)
        repeats = any(row[at : at + t0] == row[at + t0 : at + 2 * t0] for at in starts)
        if t0 and (t0 < 2 or not repeats):
            raise ValueError(
                f"t0={t0}: sequence {number} does not hold a block of so many tokens (at least 2) "
                "twice in a row; use t0=0 if nothing repeats"
            )


@dataclass(frozen=True)
class _Model:
    """What of a model decides how it is measured and what is recorded of it.

    Attributes:
        positions: of the residual stream.
        dtype, device: of the weights; the latter by its type.
        memory: of the device, bytes.
        context: the most tokens a sequence may have.
        vocabulary: number of token ids.
        attributes: of the results, as far as they belong to the model and its machine.
    """

    positions: list[Position]
    dtype: torch.dtype
    device: str
    memory: int
    context: int
    vocabulary: int
    attributes: dict[str, object]


def _describe(model: TransformerBridge) -> _Model:
    device = next(model.original_model.parameters()).device
    attributes = asdict(getattr(model, "provenance", Provenance())) | {
        "device": _device_name(device),
        "architecture": json.dumps(architecture(model)),
        "versions": json.dumps(_versions()),
        "git_commit": git_commit(),
    }
    return _Model(
        positions(model),
        model.cfg.dtype,
        device.type,
        device_memory(device),
        model.cfg.n_ctx,
        model.cfg.d_vocab,
        attributes,
    )


def _tokens(about: _Model, settings: Settings) -> np.ndarray:
    """The tokens to measure (sequence, token).

    Raises:
        ValueError: more tokens than the model's context, or an id outside its vocabulary.
    """
    context, vocabulary = about.context, about.vocabulary
    if settings.tokens is None:
        if 2 * settings.t0 > context:
            raise ValueError(
                f"t0={settings.t0}: 2 * t0 = {2 * settings.t0} tokens exceed the model's context "
                f"of {context}; use t0 <= {context // 2}"
            )
        generator = np.random.default_rng(settings.seed)
        return repeated_random_tokens(settings.t0, settings.batch, vocabulary, generator)
    if len(settings.tokens[0]) > context:
        raise ValueError(
            f"tokens: sequences of {len(settings.tokens[0])} tokens exceed the model's context of "
            f"{context}; shorten them (--length)"
        )
    wrong = [token for row in settings.tokens for token in row if not 0 <= token < vocabulary]
    if wrong:
        raise ValueError(
            f"tokens: id {wrong[0]} is outside the model's vocabulary; use 0 <= id < {vocabulary}"
        )
    return np.array(settings.tokens, dtype=np.int64)


_BAR = {"unit": "tok", "unit_scale": True}


@dataclass(frozen=True)
class _Shard:
    """Some sequences, at all finite strengths or in the linear limit; measured in one go."""

    first: int
    stop: int
    linear: bool

    @property
    def file(self) -> str:
        return f"{'linear' if self.linear else 'finite'}-{self.first:04d}-{self.stop:04d}.npz"


def _measure_shards(
    model: TransformerBridge | str,
    about: _Model,
    tokens: np.ndarray,
    settings: Settings,
    progress: bool,
    folder: Path | None,
    executor: Executor | None,
) -> dict[str, np.ndarray]:
    """Measure what is not yet in the folder, and join everything along the sequences.

    Returns:
        `finite` (sequence, metric, strength, position, delta_j); `matrix` (sequence, metric,
        source, target); where asked `linear`, as `finite` with one strength; `seconds` per shard.
    """
    n_strengths = len(_strengths(about.dtype, settings))
    planned = _shards(about, tokens, settings, linear=False)
    if settings.linear:
        planned += _shards(about, tokens, settings, linear=True)
    identity = _identity(about, tokens, settings) if folder else ""
    done = {shard: _load_shard(folder / shard.file, identity) for shard in planned if folder}
    passes = {
        shard: _token_passes(tokens[shard.first : shard.stop], 1 if shard.linear else n_strengths)
        for shard in planned
    }
    finished = sum(passes[shard] for shard in planned if done.get(shard))
    missing = [shard for shard in planned if not done.get(shard)]
    total = sum(passes.values())
    with tqdm(total=total, initial=finished, **_BAR, disable=not progress) as bar:
        if isinstance(model, str):
            assert executor is not None
            measured = _measured_elsewhere(executor, model, about, tokens, settings, missing)
        else:
            measured = (
                (shard, _measure_shard(model, about, tokens, settings, shard, bar.update))
                for shard in missing
            )
        for shard, parts in measured:
            done[shard] = parts
            if folder:
                _save_shard(folder / shard.file, identity, parts)
            if executor is not None:
                bar.update(passes[shard])
    names = dict.fromkeys(name for shard in planned for name in done[shard])
    return {
        name: np.concatenate([done[shard][name] for shard in planned if name in done[shard]])
        for name in names
    }


def _measured_elsewhere(
    executor: Executor,
    model: str,
    about: _Model,
    tokens: np.ndarray,
    settings: Settings,
    missing: list[_Shard],
) -> Iterator[tuple[_Shard, dict[str, np.ndarray]]]:
    """Shards in the order in which the workers finish them."""
    futures = {
        executor.submit(_measure_shard_by_name, model, about, tokens, settings, shard): shard
        for shard in missing
    }
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


def _describe_by_name(name: str, settings: Settings) -> _Model:
    with _IN_WORKER:
        return _describe(_model_of_worker(name, settings.device, settings.dtype))


def _measure_shard_by_name(
    name: str, about: _Model, tokens: np.ndarray, settings: Settings, shard: _Shard
) -> dict[str, np.ndarray]:
    with _IN_WORKER:
        model = _model_of_worker(name, settings.device, settings.dtype)
        return _measure_shard(model, about, tokens, settings, shard)


def _measure_shard(
    model: TransformerBridge,
    about: _Model,
    tokens: np.ndarray,
    settings: Settings,
    shard: _Shard,
    update: Callable[[int], object] | None = None,
) -> dict[str, np.ndarray]:
    start = time.perf_counter()
    chosen = torch.from_numpy(tokens[shard.first : shard.stop])
    if shard.linear:
        products = linear_inner_products(chosen, model, progress=update)
        parts = {"linear": _response_functions(products, LINEAR_METRICS)}
    else:
        strengths = _strengths(about.dtype, settings)
        size = _strengths_at_a_time(about, *chosen.shape)
        chunks = [strengths[first : first + size] for first in range(0, len(strengths), size)]
        functions, matrices = [], None
        # Closed in any case: the model is the caller's again, whatever happens here.
        with closing(chunked_inner_products(chosen, model, chunks, progress=update)) as found:
            for chunk, products in zip(chunks, found, strict=True):
                functions.append(_response_functions(products, METRICS))
                if settings.epsilon0 in chunk:
                    # Cloned: a view would keep every matrix of the metric in memory.
                    at = (-1, chunk.index(settings.epsilon0))
                    matrices = [metric(products)[at].clone() for metric in METRICS.values()]
        assert matrices is not None
        parts = {
            "finite": np.concatenate(functions, axis=2),
            "matrix": torch.stack(matrices, dim=1).cpu().numpy(),
        }
    return parts | {"seconds": np.array([time.perf_counter() - start])}


def _strengths(dtype: torch.dtype, settings: Settings) -> list[float]:
    """The strengths asked for and, where the floor is, that of the floor as the last."""
    floor = [floor_epsilon(dtype)] if settings.noise_floor else []
    return [*settings.epsilons, *floor]


def _token_passes(tokens: np.ndarray, n_strengths: int) -> int:
    sequences, t = tokens.shape
    return sequences * n_strengths * t * (t + 1) // 2


def _response_functions(
    products: InnerProducts, metrics: dict[str, Callable[[InnerProducts], ResponseMatrix]]
) -> np.ndarray:
    """Response functions (sequence, metric, strength, position, delta_j)."""
    functions = [
        response_function(metric(products)).permute(2, 1, 0, 3).cpu() for metric in metrics.values()
    ]
    return torch.stack(functions, dim=1).numpy()


def _strengths_at_a_time(about: _Model, n_sequences: int, t: int) -> int:
    size = (len(about.positions), n_sequences, t, about.dtype)
    if bytes_of_strength(*size) > about.memory // 8:
        warnings.warn(
            f"memory: sequences of {t} tokens need {bytes_of_strength(*size) / 2**30:.1f} GiB "
            "beside the weights; if it runs out use shorter ones, or sequences_per_chunk=1",
            stacklevel=2,
        )
    return strengths_at_a_time(*size, about.device, about.memory)


def strengths_at_a_time(
    n_positions: int,
    n_sequences: int,
    t: int,
    dtype: torch.dtype,
    device: str,
    memory: int | None = None,
) -> int:
    """How many strengths fit into memory together; at least one.

    Depends on the size of the device's memory but not on what is free: another number lays the
    suffixes out otherwise and changes the last bits.

    Args:
        n_positions: positions l of the residual stream.
        n_sequences: sequences measured together.
        t: their length T.
        dtype: of the model.
        device: type of the device.
        memory: of the device, bytes; plenty if None.
    """
    limit = CHUNK_BYTES.get(device, CHUNK_BYTES["cpu"])
    if memory is not None:
        limit = min(limit, memory // 8)
    return max(1, limit // bytes_of_strength(n_positions, n_sequences, t, dtype))


def bytes_of_strength(n_positions: int, n_sequences: int, t: int, dtype: torch.dtype) -> int:
    """Bytes of four inner products and about as many intermediates of a metric, of one strength."""
    # Half precision is raised to float32.
    return 8 * max(dtype.itemsize, 4) * n_positions * n_sequences * t * t


def _shards(about: _Model, tokens: np.ndarray, settings: Settings, linear: bool) -> list[_Shard]:
    size = settings.sequences_per_chunk or SEQUENCES_PER_SHARD
    # Shards of equal size, as far as possible: they run equally fast.
    n_shards = math.ceil(len(tokens) / size)
    edges = np.linspace(0, len(tokens), n_shards + 1).round().astype(int)
    return [_Shard(int(first), int(stop), linear) for first, stop in pairwise(edges)]


def _identity(about: _Model, tokens: np.ndarray, settings: Settings) -> str:
    """Digest of all that decides the bits of a shard; shards of another one are measured again."""
    weights = about.attributes["weights_sha256"]
    if weights == "unknown":
        raise ValueError(
            "shards: a model whose weights are unknown cannot be resumed; load it by name or from "
            "a folder"
        )
    sources = sorted(Path(__file__).parent.glob("*.py"))
    parts = (
        weights,
        tokens.tolist(),
        settings,
        str(about.dtype),
        about.attributes["device"],
        about.attributes["versions"],
        [path.read_text(encoding="utf-8") for path in sources],
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _save_shard(path: Path, identity: str, parts: dict[str, np.ndarray]) -> None:
    """Write a shard complete or not at all; what a kill leaves has another suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, identity=np.array(identity), **parts)
    os.replace(partial, path)


def _load_shard(path: Path, identity: str) -> dict[str, np.ndarray]:
    """The parts of a finished shard; none if it is absent, damaged or of another measurement."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return {}
    return parts if str(parts.pop("identity", "")) == identity else {}


def _assemble(
    about: _Model, tokens: np.ndarray, settings: Settings, parts: dict[str, np.ndarray]
) -> xr.Dataset:
    n = len(settings.epsilons)
    found = about.positions
    finite, floor = parts["finite"][:, :, :n], parts["finite"][:, :, n:]
    dims = ("metric", "epsilon", "position", "delta_j")
    without_strength = ("metric", "position", "delta_j")
    by_sequence = ("metric", "epsilon", "sequence")
    of_sequences = finite.transpose(1, 2, 0, 3, 4)
    variables = {
        "tokens": (("sequence", "token"), tokens),
        "response": (dims, _mean(finite)),
        "response_sem": (dims, _standard_error(finite)),
        "matrix": (("metric", "source", "target"), _mean(parts["matrix"])),
        "witness": (dims, finite[0]),
        "last_response": ((*by_sequence, "delta_j"), of_sequences[:, :, :, -1]),
    }
    if settings.t0:
        reference, shown = settings.epsilons.index(settings.epsilon0), window(settings.t0)
        variables["peak_response"] = (
            (*by_sequence, "position"),
            of_sequences[..., settings.t0 - 1],
        )
        variables["window_response"] = (
            ("metric", "sequence", "position", "window"),
            of_sequences[:, reference][..., shown],
        )
    if settings.noise_floor:
        variables["floor"] = (without_strength, _mean(floor[:, :, 0]).astype(np.float32))
    if settings.linear:
        linear = parts["linear"][:, :, 0]
        variables["linear"] = (without_strength, _mean(linear))
        variables["linear_sem"] = (without_strength, _standard_error(linear))
        variables["last_linear"] = (
            ("metric", "sequence", "delta_j"),
            linear[:, :, -1].transpose(1, 0, 2),
        )
    coordinates = {
        "metric": list(METRICS),
        "epsilon": np.array(settings.epsilons),
        "position": [position.index for position in found],
        "layer": ("position", [position.layer for position in found]),
        "sublayer": ("position", [position.sublayer for position in found]),
        "delta_j": np.arange(tokens.shape[1]),
    }
    if settings.t0:
        coordinates["window"] = window(settings.t0)
    attributes = _attributes(about, settings)
    attributes["wall_time_s"] = round(float(parts["seconds"].sum()), 1)
    return xr.Dataset(variables, coordinates, attributes)


def _mean(by_sequence: np.ndarray) -> np.ndarray:
    """Mean over sequences (the first axis), summed in float64."""
    return by_sequence.mean(0, dtype=np.float64).astype(by_sequence.dtype)


def _standard_error(by_sequence: np.ndarray) -> np.ndarray:
    """Standard error of the mean over sequences (the first axis); nan for a single one."""
    n = len(by_sequence)
    if n == 1:
        return np.full(by_sequence.shape[1:], np.nan, dtype=np.float32)
    spread = by_sequence.std(0, ddof=1, dtype=np.float64) / math.sqrt(n)
    return spread.astype(np.float32)


def _round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Keep the leading bits of float32 numbers."""
    drop = 23 - bits
    as_integer = np.ascontiguousarray(values).view(np.uint32)
    rounded = (as_integer + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def _attributes(about: _Model, settings: Settings) -> dict[str, object]:
    of_text = {"text_sha256": settings.text_sha256} if settings.input == "text" else {}
    floor = floor_epsilon(about.dtype) if settings.noise_floor else "not measured"
    return (
        about.attributes
        | of_text
        | {
            "schema_version": SCHEMA_VERSION,
            "t0": settings.t0,
            "batch": settings.batch,
            "epsilon0": settings.epsilon0,
            "floor_epsilon": floor,
            "seed": settings.seed if settings.tokens is None else "none",
            "input": settings.input,
            "dtype": str(about.dtype).removeprefix("torch."),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def device_memory(device: torch.device) -> int:
    """Memory of a device, used or not, bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().total


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


def git_commit() -> str:
    """Commit of this library, with `-dirty` where it was changed since; `unknown` without git."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _content_sha256(dataset: xr.Dataset) -> str:
    """Digest of names, dimensions and values of all variables and of the settings."""
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset[name]
        values = variable.values
        described = f"{name} {variable.dims} {values.shape}"
        digest.update(described.encode())
        text = values.dtype.kind in "OUT"
        digest.update(
            repr(values.tolist()).encode() if text else np.ascontiguousarray(values).tobytes()
        )
    settings = {
        name: str(value) for name, value in dataset.attrs.items() if name != "content_sha256"
    }
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()
