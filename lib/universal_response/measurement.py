"""Settings -> xarray.Dataset: measure, save, load, verify, with provenance."""

import hashlib
import json
import math
import os
import platform
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
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

from universal_response.metrics import METRICS
from universal_response.models import (
    DTYPES,
    Provenance,
    architecture,
    load_model,
    weights_sha256,
)
from universal_response.propagation import InnerProducts, inner_products, positions
from universal_response.response import measured_floor, noise, response_function
from universal_response.sequences import repeated_random_tokens

SCHEMA_VERSION = 1
DEFAULT_EPSILONS = (3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3)

# Inner products of one chunk of sequences, and the metrics made of them, stay below this.
CHUNK_BYTES = {"cpu": 1 << 30, "cuda": 1 << 33}

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

    Raises:
        ValueError: a setting is out of range.
    """

    t0: int = 64
    batch: int = 8
    epsilons: tuple[float, ...] = DEFAULT_EPSILONS
    epsilon0: float = 0.05
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"
    sequences_per_chunk: int | None = None
    noise_floor: bool = True

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
    model: TransformerBridge | str, settings: Settings, progress: bool = False
) -> xr.Dataset:
    """Measure the response of a model to weak single-token perturbations.

    Args:
        model: a TransformerBridge, measured as it is (its own dtype and device, which the
            attributes of the result record), or what `load_model` takes.
        settings: what to measure.
        progress: show a progress bar, counted in tokens passed through the model.

    Returns:
        Dataset in the schema of the book's page on data: `tokens`, `response`, `response_sem`,
        `matrix`, `witness` and, if asked, `floor`, with provenance attributes. Numbers are float32
        (float64 for a float64 model). `response_sem` is nan for a single sequence.

    Raises:
        ValueError: 2 * t0 exceeds the model's context.
    """
    start = time.perf_counter()
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
    responses, matrix = _measure_sequences(model, tokens, settings, progress)
    dataset = _assemble(model, tokens, settings, responses, matrix)
    dataset.attrs |= _attributes(model, settings)
    dataset.attrs["wall_time_s"] = round(time.perf_counter() - start, 1)
    return dataset


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
    are those asked for, with a floor if one is asked for. The device may differ.

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
    dataset = measure(model, settings, progress)
    save_results(dataset, folder / results_name(model, settings))
    return dataset


def results_name(model: str, settings: Settings) -> str:
    """File name of a measurement: model, T0, batch, seed and a digest of the other settings."""
    stem = Path(model).name if Path(model).is_dir() else model.replace("/", "--")
    other = repr((settings.epsilons, settings.epsilon0, settings.dtype, settings.noise_floor))
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
    (products,) = _measured(model, tokens[:1], settings, progress)
    responses, _ = _reduce(products, 0)
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
    if not (same and floor and dataset.attrs["model"] == model):
        return False
    hashes = {dataset.attrs["weights_sha256"], weights_sha256(model)} - {"unknown"}
    return len(hashes) <= 1


def _measure_sequences(
    model: TransformerBridge, tokens: np.ndarray, settings: Settings, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Response functions (sequence, metric, epsilon, position, delta_j) and the mean matrix."""
    reference = settings.epsilons.index(settings.epsilon0)
    responses, matrices = [], []
    for products in _measured(model, tokens, settings, progress):
        functions, last = _reduce(products, reference)
        responses.append(functions)
        matrices.append(last)
    return np.concatenate(responses), np.concatenate(matrices).mean(0)


def _measured(
    model: TransformerBridge, tokens: np.ndarray, settings: Settings, progress: bool
) -> Iterator[InnerProducts]:
    """Inner products chunk by chunk; the strength of the floor, where asked, comes last."""
    floor = [floor_epsilon(model.cfg.dtype)] if settings.noise_floor else []
    strengths = [*settings.epsilons, *floor]
    t = tokens.shape[1]
    total = len(tokens) * len(strengths) * t * (t + 1) // 2
    with tqdm(total=total, unit="tok", unit_scale=True, disable=not progress) as bar:
        for chunk in _chunks(model, tokens, len(strengths), settings.sequences_per_chunk):
            yield inner_products(
                torch.from_numpy(tokens[chunk]), model, strengths, progress=bar.update
            )


def _reduce(products: InnerProducts, reference: int) -> tuple[np.ndarray, np.ndarray]:
    functions, last = [], []
    for metric in METRICS.values():
        matrix = metric(products)
        functions.append(response_function(matrix).permute(2, 1, 0, 3).cpu())
        last.append(matrix[-1, reference].cpu())
    return torch.stack(functions, dim=1).numpy(), torch.stack(last, dim=1).numpy()


def _chunks(
    model: TransformerBridge, tokens: np.ndarray, n_strengths: int, asked: int | None
) -> Iterator[slice]:
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
    size = asked or max(1, limit // per_sequence)
    # Chunks of equal size, as far as possible: they run equally fast.
    n_chunks = math.ceil(len(tokens) / size)
    edges = np.linspace(0, len(tokens), n_chunks + 1).round().astype(int)
    return (slice(int(a), int(b)) for a, b in pairwise(edges))


def _assemble(
    model: TransformerBridge,
    tokens: np.ndarray,
    settings: Settings,
    responses: np.ndarray,
    matrix: np.ndarray,
) -> xr.Dataset:
    n = len(settings.epsilons)
    found = positions(model)
    t = tokens.shape[1]
    measured, floor = responses[:, :, :n], responses[:, :, n:]
    mean = measured.mean(0, dtype=np.float64).astype(measured.dtype)
    if len(measured) > 1:
        spread = measured.std(0, ddof=1, dtype=np.float64) / math.sqrt(len(measured))
    else:
        spread = np.full(mean.shape, np.nan)
    dims = ("metric", "epsilon", "position", "delta_j")
    variables = {
        "tokens": (("sequence", "token"), tokens),
        "response": (dims, mean),
        "response_sem": (dims, _round_mantissa(spread.astype(np.float32))),
        "matrix": (("metric", "source", "target"), matrix),
        "witness": (dims, measured[0]),
    }
    if settings.noise_floor:
        floor_mean = floor.mean(0, dtype=np.float64).astype(np.float32)
        variables["floor"] = (("metric", "position", "delta_j"), _round_mantissa(floor_mean[:, 0]))
    coordinates = {
        "metric": list(METRICS),
        "epsilon": np.array(settings.epsilons),
        "position": [position.index for position in found],
        "layer": ("position", [position.layer for position in found]),
        "sublayer": ("position", [position.sublayer for position in found]),
        "delta_j": np.arange(t),
    }
    return xr.Dataset(variables, coordinates)


def _round_mantissa(values: np.ndarray, bits: int = 10) -> np.ndarray:
    """Keep the leading bits of float32 numbers: three digits are enough for an error."""
    drop = 23 - bits
    as_integer = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (as_integer + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isfinite(values), rounded.view(np.float32), values).astype(np.float32)


def _attributes(model: TransformerBridge, settings: Settings) -> dict[str, object]:
    provenance = getattr(model, "provenance", Provenance())
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    return asdict(provenance) | {
        "schema_version": SCHEMA_VERSION,
        "t0": settings.t0,
        "batch": settings.batch,
        "epsilon0": settings.epsilon0,
        "floor_epsilon": floor_epsilon(model.cfg.dtype) if settings.noise_floor else "not measured",
        "seed": settings.seed,
        "dtype": str(model.cfg.dtype).removeprefix("torch."),
        "device": _device_name(_device(model)),
        "architecture": json.dumps(architecture(model)),
        "versions": json.dumps(versions),
        "git_commit": _git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


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
