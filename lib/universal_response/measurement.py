"""Settings -> xarray.Dataset: measure, resume, save, load, verify, with provenance."""

import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
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
    weights_sha256,
)
from universal_response.propagation import (
    InnerProducts,
    inner_products,
    linear_inner_products,
    positions,
)
from universal_response.response import measured_floor, noise, response_function, window
from universal_response.sequences import repeated_random_tokens

SCHEMA_VERSION = 2
DEFAULT_EPSILONS = (3e-4, 1e-3, 3e-3, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5)

# Inner products of one chunk of sequences, and the metrics made of them, stay below this.
CHUNK_BYTES = {"cpu": 1 << 30, "cuda": 1 << 33}
# No more than this is lost when a measurement is killed.
SEQUENCES_PER_SHARD = 8

# Leading bits kept of what is stored: a response to 8e-6 (rounding in the model is worse), what is
# only compared or averaged again to 1e-4, an error to two digits.
RESPONSE_BITS, SEQUENCE_BITS, ERROR_BITS = 16, 12, 8

_PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "xarray", "universal-response")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured.

    Attributes:
        t0: length T0 of the repeated block; the sequence has T = 2 T0 tokens.
        batch: number of sequences averaged over (the paper has 32).
        epsilons: perturbation strengths, each in (0, 1].
        epsilon0: reference strength of the response matrix; one of `epsilons`.
        seed: of the random tokens.
        dtype: of the model, where `measure` loads it.
        device: for the model, where `measure` loads it.
        sequences_per_chunk: sequences measured at a time; chosen from the memory they need if None.
        noise_floor: measure the rounding error as well (`floor_epsilon`).
        linear: measure the exact limit epsilon -> 0 as well; costs about three strengths.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilons", tuple(float(epsilon) for epsilon in self.epsilons))
        if self.t0 < 2:
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
) -> xr.Dataset:
    """Measure the response of a model to weak single-token perturbations.

    Args:
        model: a TransformerBridge, measured as it is (its own dtype and device, which the
            attributes of the result record), or what `load_model` takes.
        settings: what to measure.
        progress: show a progress bar, counted in tokens passed through the model.
        shards: folder in which every finished part is kept at once. A measurement that was killed
            goes on from there, and ends with the same bits as one that was not.

    Returns:
        Dataset in the schema of the book's page on data: `tokens`, `response`, `response_sem`,
        `matrix`, `witness`, `last_response`, `peak_response`, `window_response`, and if asked
        `floor`, `linear`, `linear_sem`, `last_linear`, with provenance attributes. Numbers are
        float32 rounded to the bits that carry information, or those of a float64 model as they are.
        Standard errors are nan for a single sequence.

    Raises:
        ValueError: 2 * t0 exceeds the model's context, or `shards` for a model of unknown weights.
    """
    if isinstance(model, str):
        model = load_model(
            model, settings.device, settings.dtype, tokenizer=False, progress=progress
        )
    if 2 * settings.t0 > model.cfg.n_ctx:
        raise ValueError(
            f"t0={settings.t0}: 2 * t0 = {2 * settings.t0} tokens exceed the model's context of "
            f"{model.cfg.n_ctx}; use t0 <= {model.cfg.n_ctx // 2}"
        )
    weakest, floor = min(settings.epsilons), floor_epsilon(model.cfg.dtype)
    if weakest < 10 * floor:
        warnings.warn(
            f"epsilons: {weakest:g} is lost to rounding in {model.cfg.dtype}; use at least "
            f"{10 * floor:.1g}",
            stacklevel=2,
        )
    tokens = repeated_random_tokens(
        settings.t0, settings.batch, model.cfg.d_vocab, np.random.default_rng(settings.seed)
    )
    folder = Path(shards) if shards else None
    parts = _measure_shards(model, tokens, settings, progress, folder)
    return _assemble(model, tokens, settings, parts)


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

    Returns:
        The path written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sealed = dataset.assign_attrs(content_sha256=_content_sha256(dataset))
    encoding = {name: {"zlib": True, "complevel": 9, "shuffle": True} for name in dataset.data_vars}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
        partial = Path(folder) / path.name
        sealed.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
        os.replace(partial, path)
    return path


def load_results(path: str | Path) -> xr.Dataset:
    """Read a results file and check that it is whole.

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

    Any file counts whose model, weights, T0, batch, strengths, reference strength, seed and dtype
    are those asked for, with floor and linear limit if they are asked for. The device may differ.
    A new measurement is that of `measure_into`.

    Args:
        model: what `load_model` takes.
        settings: what to measure.
        folder: where files are looked for, and where a new measurement is saved.
        also: further folders to look in, such as that of the shipped results.
        progress: show progress bars while measuring.
    """
    folder = Path(folder)
    for path in sorted(path for place in (*also, folder) for path in Path(place).glob("*.nc")):
        dataset = load_results(path)
        if _answers(dataset, model, settings):
            return dataset
    return measure_into(folder / results_name(model, settings), model, settings, progress)


def measure_into(
    path: str | Path, model: TransformerBridge | str, settings: Settings, progress: bool = False
) -> xr.Dataset:
    """Measure and save, with the finished shards beside the file until it is written.

    The same call goes on after a kill. Arguments and result are those of `measure`.
    """
    path = Path(path)
    shards = path.with_suffix(".shards")
    dataset = measure(model, settings, progress, shards)
    save_results(dataset, path)
    shutil.rmtree(shards, ignore_errors=True)
    return dataset


def results_name(model: str, settings: Settings) -> str:
    """File name of a measurement: model, T0, batch, seed and a digest of the other settings."""
    stem = Path(model).name if Path(model).is_dir() else model.replace("/", "--")
    asked = (settings.noise_floor, settings.linear)
    other = repr((settings.epsilons, settings.epsilon0, settings.dtype, *asked))
    digest = hashlib.sha256(other.encode()).hexdigest()[:8]
    return f"{stem}-t{settings.t0}-b{settings.batch}-s{settings.seed}-{digest}.nc"


def settings_of(dataset: xr.Dataset) -> Settings:
    """The settings a Dataset was measured with, for measuring it again."""
    attrs = dataset.attrs
    return Settings(
        t0=int(attrs["t0"]),
        batch=int(attrs["batch"]),
        epsilons=tuple(dataset.epsilon.values.tolist()),
        epsilon0=float(attrs["epsilon0"]),
        seed=int(attrs["seed"]),
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
        where: metric, epsilon, position and delta_j of that number.
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
    dataset: xr.Dataset, model: TransformerBridge | None = None, progress: bool = False
) -> Verification:
    """Measure the first sequence of a Dataset again and compare with the shipped `witness`.

    Allowed is 1e-3 relative (for the cosines: 1e-3 absolute) plus three times the measured noise of
    each number (`response.noise`).

    Args:
        dataset: results with `witness` and `floor`.
        model: the model they belong to; loaded by its recorded name if None.

    Raises:
        ValueError: the weights or the tokens are not those recorded, or no floor was measured.
        WeightsUnavailable: the weights are not to be had.
    """
    settings = settings_of(dataset)
    shipped = dataset.witness
    floor = measured_floor(dataset)
    # A mean over few sources scatters about the floor of that distance, up to the largest floor.
    scatter = floor.max("delta_j") / np.sqrt(shipped.sizes["delta_j"] - shipped.delta_j)
    rounding = noise(dataset.assign(response=shipped, floor=floor + scatter))
    model = model or load_model(
        dataset.attrs["model"], dtype=settings.dtype, tokenizer=False, progress=progress
    )
    recorded = dataset.attrs["weights_sha256"]
    loaded = getattr(model, "provenance", Provenance()).weights_sha256
    if "unknown" not in (loaded, recorded) and loaded != recorded:
        raise ValueError(
            f"weights_sha256={recorded}: the model at hand has {loaded}; use the recorded weights"
        )
    tokens = repeated_random_tokens(
        settings.t0, settings.batch, model.cfg.d_vocab, np.random.default_rng(settings.seed)
    )
    if not np.array_equal(tokens, dataset.tokens.values):
        raise ValueError(f"tokens: not those of seed={settings.seed}; the file was changed")
    strengths = _strengths(model, settings)
    with tqdm(total=_token_passes(tokens[:1], len(strengths)), **_BAR, disable=not progress) as bar:
        products = inner_products(
            torch.from_numpy(tokens[:1]), model, strengths, progress=bar.update
        )
    responses = _response_functions(products, METRICS)
    found = shipped.copy(data=responses[0][:, : len(settings.epsilons)])
    is_cosine = shipped.metric.str.startswith("theta")
    rounding = np.maximum(rounding, xr.where(is_cosine, _cosine_noise(products, shipped), 0.0))
    allowed = 1e-3 * xr.where(is_cosine, 1.0, np.abs(shipped)) + 3 * rounding
    difference = np.abs(found - shipped)
    # Where nothing is allowed, equality is asked for; what is not a number agrees with nothing.
    excess = xr.where(difference == 0, 0.0, difference / allowed).fillna(np.inf)
    worst = excess.argmax(...)
    at = excess.isel(worst)
    of_delta = shipped.sel(metric="delta")
    clear = of_delta > 3 * rounding.sel(metric="delta")
    relative = (difference.sel(metric="delta") / of_delta.where(clear)).median()
    where = {name: at[name].item() for name in ("metric", "epsilon", "position", "delta_j")}
    return Verification(excess.size, float(at), where, float(relative))


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
    names = ("t0", "batch", "epsilons", "epsilon0", "seed", "dtype")
    found = settings_of(dataset)
    same = all(getattr(found, name) == getattr(settings, name) for name in names)
    floor = found.noise_floor or not settings.noise_floor
    linear = found.linear or not settings.linear
    if not (same and floor and linear and dataset.attrs["model"] == model):
        return False
    hashes = {dataset.attrs["weights_sha256"], weights_sha256(model)} - {"unknown"}
    return len(hashes) <= 1


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
    model: TransformerBridge,
    tokens: np.ndarray,
    settings: Settings,
    progress: bool,
    folder: Path | None,
) -> dict[str, np.ndarray]:
    """Measure what is not yet in the folder, and join everything along the sequences.

    Returns:
        `finite` (sequence, metric, strength, position, delta_j); `matrix` (sequence, metric,
        source, target); where asked `linear`, as `finite` with one strength; `seconds` per shard.
    """
    n_strengths = len(_strengths(model, settings))
    planned = _shards(model, tokens, n_strengths, settings.sequences_per_chunk, linear=False)
    if settings.linear:
        planned += _shards(model, tokens, 1, settings.sequences_per_chunk, linear=True)
    identity = _identity(model, tokens, settings) if folder else ""
    done = {shard: _load_shard(folder / shard.file, identity) for shard in planned if folder}
    total = _token_passes(tokens, n_strengths + settings.linear)
    finished = sum(
        _token_passes(tokens[shard.first : shard.stop], 1 if shard.linear else n_strengths)
        for shard in planned
        if done.get(shard)
    )
    with tqdm(total=total, initial=finished, **_BAR, disable=not progress) as bar:
        for shard in planned:
            if not done.get(shard):
                done[shard] = _measure_shard(model, tokens, settings, shard, bar.update)
                if folder:
                    _save_shard(folder / shard.file, identity, done[shard])
    names = dict.fromkeys(name for part in done.values() for name in part)
    return {
        name: np.concatenate([done[shard][name] for shard in planned if name in done[shard]])
        for name in names
    }


def _measure_shard(
    model: TransformerBridge,
    tokens: np.ndarray,
    settings: Settings,
    shard: _Shard,
    update: Callable[[int], object],
) -> dict[str, np.ndarray]:
    start = time.perf_counter()
    chosen = torch.from_numpy(tokens[shard.first : shard.stop])
    if shard.linear:
        products = linear_inner_products(chosen, model, update)
        parts = {"linear": _response_functions(products, LINEAR_METRICS)}
    else:
        products = inner_products(chosen, model, _strengths(model, settings), progress=update)
        reference = settings.epsilons.index(settings.epsilon0)
        matrices = [metric(products)[-1, reference] for metric in METRICS.values()]
        parts = {
            "finite": _response_functions(products, METRICS),
            "matrix": torch.stack(matrices, dim=1).cpu().numpy(),
        }
    return parts | {"seconds": np.array([time.perf_counter() - start])}


def _strengths(model: TransformerBridge, settings: Settings) -> list[float]:
    """The strengths asked for and, where the floor is, that of the floor as the last."""
    floor = [floor_epsilon(model.cfg.dtype)] if settings.noise_floor else []
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


def _shards(
    model: TransformerBridge, tokens: np.ndarray, n_strengths: int, asked: int | None, linear: bool
) -> list[_Shard]:
    t = tokens.shape[1]
    # Four inner products and about as many intermediates of a metric, four or eight bytes each.
    bytes_each = 8 if model.cfg.dtype == torch.float64 else 4
    per_sequence = 8 * bytes_each * len(positions(model)) * n_strengths * t * t
    limit = CHUNK_BYTES.get(_device(model).type, CHUNK_BYTES["cpu"])
    if per_sequence > limit:
        warnings.warn(
            f"t0={t // 2}: one sequence needs {per_sequence / 2**30:.1f} GiB beside the weights; if"
            " memory runs out use a smaller t0 or fewer epsilons",
            stacklevel=2,
        )
    size = asked or min(max(1, limit // per_sequence), SEQUENCES_PER_SHARD)
    # Shards of equal size, as far as possible: they run equally fast.
    n_shards = math.ceil(len(tokens) / size)
    edges = np.linspace(0, len(tokens), n_shards + 1).round().astype(int)
    return [_Shard(int(first), int(stop), linear) for first, stop in pairwise(edges)]


def _identity(model: TransformerBridge, tokens: np.ndarray, settings: Settings) -> str:
    """Digest of all that decides the bits of a shard; shards of another one are measured again."""
    weights = getattr(model, "provenance", Provenance()).weights_sha256
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
        str(model.cfg.dtype),
        _device_name(_device(model)),
        _versions(),
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
    model: TransformerBridge, tokens: np.ndarray, settings: Settings, parts: dict[str, np.ndarray]
) -> xr.Dataset:
    n, peak = len(settings.epsilons), settings.t0 - 1
    reference = settings.epsilons.index(settings.epsilon0)
    shown = window(settings.t0)
    found = positions(model)
    finite, floor = parts["finite"][:, :, :n], parts["finite"][:, :, n:]
    dims = ("metric", "epsilon", "position", "delta_j")
    without_strength = ("metric", "position", "delta_j")
    by_sequence = ("metric", "epsilon", "sequence")
    of_sequences = finite.transpose(1, 2, 0, 3, 4)
    variables = {
        "tokens": (("sequence", "token"), tokens),
        "response": (dims, _round_mantissa(_mean(finite), RESPONSE_BITS)),
        "response_sem": (dims, _standard_error(finite)),
        "matrix": (
            ("metric", "source", "target"),
            _round_mantissa(_mean(parts["matrix"]), RESPONSE_BITS),
        ),
        "witness": (dims, _round_mantissa(finite[0], SEQUENCE_BITS)),
        "last_response": (
            (*by_sequence, "delta_j"),
            _round_mantissa(of_sequences[:, :, :, -1], SEQUENCE_BITS),
        ),
        "peak_response": (
            (*by_sequence, "position"),
            _round_mantissa(of_sequences[..., peak], SEQUENCE_BITS),
        ),
        "window_response": (
            ("metric", "sequence", "position", "window"),
            _round_mantissa(of_sequences[:, reference][..., shown], SEQUENCE_BITS),
        ),
    }
    if settings.noise_floor:
        floor_mean = _mean(floor[:, :, 0]).astype(np.float32)
        variables["floor"] = (without_strength, _round_mantissa(floor_mean, ERROR_BITS))
    if settings.linear:
        linear = parts["linear"][:, :, 0]
        last = linear[:, :, -1].transpose(1, 0, 2)
        variables["linear"] = (without_strength, _round_mantissa(_mean(linear), RESPONSE_BITS))
        variables["linear_sem"] = (without_strength, _standard_error(linear))
        variables["last_linear"] = (
            ("metric", "sequence", "delta_j"),
            _round_mantissa(last, SEQUENCE_BITS),
        )
    coordinates = {
        "metric": list(METRICS),
        "epsilon": np.array(settings.epsilons),
        "position": [position.index for position in found],
        "layer": ("position", [position.layer for position in found]),
        "sublayer": ("position", [position.sublayer for position in found]),
        "delta_j": np.arange(tokens.shape[1]),
        "window": shown,
    }
    attributes = _attributes(model, settings)
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
    return _round_mantissa(spread.astype(np.float32), ERROR_BITS)


def _round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """Keep the leading bits of float32 numbers, so that they compress; float64 stays as it is."""
    if values.dtype != np.float32:
        return values
    drop = 23 - bits
    as_integer = np.ascontiguousarray(values).view(np.uint32)
    rounded = (as_integer + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values)


def _attributes(model: TransformerBridge, settings: Settings) -> dict[str, object]:
    provenance = getattr(model, "provenance", Provenance())
    return asdict(provenance) | {
        "schema_version": SCHEMA_VERSION,
        "t0": settings.t0,
        "batch": settings.batch,
        "epsilon0": settings.epsilon0,
        "floor_epsilon": floor_epsilon(model.cfg.dtype) if settings.noise_floor else "not measured",
        "seed": settings.seed,
        "input": "repeated random tokens",
        "dtype": str(model.cfg.dtype).removeprefix("torch."),
        "device": _device_name(_device(model)),
        "architecture": json.dumps(architecture(model)),
        "versions": json.dumps(_versions()),
        "git_commit": _git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _device(model: TransformerBridge) -> torch.device:
    return next(model.original_model.parameters()).device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


def _git_commit() -> str:
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
