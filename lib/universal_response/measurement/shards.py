"""Finished shards on disk, from which a measurement that was killed goes on."""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from universal_response.measurement.description import description
from universal_response.measurement.job import Job

LIBRARY = Path(__file__).parents[1]
# Its files and folders that decide the bits of a shard.
CODE = (
    "propagation",
    "perturbation",
    "metrics",
    "response/pairs",
    "measurement/sums",
    "measurement/memory",
)


def identity(job: Job) -> str:
    """Digest of all that decides the bits of a shard; shards of another one are measured again."""
    recorded = job.subject.attributes
    if recorded["weights_sha256"] == "unknown":
        raise ValueError(
            "shards: a model whose weights are unknown cannot be resumed; load it by name or from "
            "a folder"
        )
    parts = (
        recorded["weights_sha256"],
        job.tokens.tolist(),
        job.sources.tolist(),
        description(job.settings),
        job.settings.sequences_per_chunk,
        str(job.subject.dtype),
        recorded["device"],
        recorded["versions"],
        code(CODE),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def code(names: Sequence[str]) -> list[str]:
    """Text of modules and rooms of the library, such as those that decide the bits of a shard."""
    found = [path for name in names for path in (LIBRARY / f"{name}.py", LIBRARY / name)]
    files = [sorted(path.rglob("*.py")) if path.is_dir() else [path] for path in found]
    return [path.read_text(encoding="utf-8") for each in files for path in each if path.exists()]


def save_shard(path: Path, identity: str, parts: dict[str, np.ndarray]) -> None:
    """Write a shard complete or not at all; what a kill leaves has another suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, identity=np.array(identity), **parts)
    os.replace(partial, path)


def load_shard(path: Path, identity: str) -> dict[str, np.ndarray]:
    """The parts of a finished shard; none if it is absent, damaged or of another measurement."""
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = dict(file)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return {}
    return parts if str(parts.pop("identity", "")) == identity else {}
