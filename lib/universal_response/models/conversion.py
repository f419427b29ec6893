"""GGUF weights as safetensors, converted once: reading a GGUF file takes most of a minute."""

import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from typing import Any

import transformers
from filelock import FileLock

from universal_response.models.weights import sha256_of

_DIGESTS = "sha256.json"


def converted(file: Path) -> Path:
    """The folder beside a GGUF file with its weights in float32, and its tokenizer.

    Both are what transformers reads from the GGUF file, bit for bit. A copy that is damaged or that
    other versions of transformers or gguf made is made again, by one process at a time.

    Raises:
        OSError: no space, or not a readable file.
    """
    versions = (f"{name}-{importlib.metadata.version(name)}" for name in ("transformers", "gguf"))
    folder = file.parent / "-".join(["float32", *versions])
    with FileLock(file.parent / "converting.lock"):
        if not _is_whole(folder):
            partial = file.parent / "converting"
            # Of a process that was killed, and of versions before.
            for old in (partial, *file.parent.glob("float32-*")):
                shutil.rmtree(old, ignore_errors=True)
            try:
                _convert(file, partial)
                os.replace(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


def _convert(file: Path, folder: Path) -> None:
    source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        str(file.parent), dtype="float32", **source
    )
    model.hf_quantizer = None  # it refuses to be saved, though nothing is quantised any more
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(str(file.parent), **source).save_pretrained(folder)
    digests = {path.name: sha256_of([path]) for path in sorted(folder.iterdir())}
    (folder / _DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    try:
        digests = json.loads((folder / _DIGESTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    files = [folder / name for name in digests]
    return all(path.exists() and sha256_of([path]) == digests[path.name] for path in files)
