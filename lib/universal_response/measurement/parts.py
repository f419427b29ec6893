"""Finished parts of a study on disk, from which a study that was killed goes on."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from universal_response.measurement.results import load_results, save_results
from universal_response.measurement.schema import SCHEMA_VERSIONS
from universal_response.measurement.shards import code


@dataclass(frozen=True)
class Parts:
    """Where parts are kept, and which study they are of.

    Attributes:
        folder: of the files, one a part; None to keep none.
        kind: of results.
        identity: digest of all that decides their numbers; others are measured again.
    """

    folder: Path | None
    kind: str
    identity: str

    def made(self, name: str, make: Callable[[], xr.Dataset]) -> xr.Dataset:
        """The part of this name as it was kept, or else made and kept, with its `seconds`."""
        part = self._kept(name)
        if part is not None:
            return part
        began = time.perf_counter()
        part = make()
        seconds = time.perf_counter() - began
        part = part.map(lambda each: each.astype(np.float32) if each.dtype == float else each)
        part = part.assign_attrs(identity=self.identity, seconds=seconds)
        if self.folder is not None:
            about = {"kind": self.kind, "schema_version": SCHEMA_VERSIONS[self.kind]}
            save_results(part.assign_attrs(about), self._path(name))
        return part

    def _path(self, name: str) -> Path:
        return Path(self.folder or ".") / f"{name}.nc"

    def _kept(self, name: str) -> xr.Dataset | None:
        """None if it is absent, damaged or of another study."""
        if self.folder is None:
            return None
        try:
            found = load_results(self._path(name), kind=self.kind)
        except (ValueError, FileNotFoundError):
            return None
        return found if found.attrs.get("identity") == self.identity else None


def identity_of(recorded: dict[str, object], settings: object, rooms: tuple[str, ...]) -> str:
    """Digest of weights, settings, packages and the code of rooms of the library.

    Args:
        recorded: attributes of the model and its machine.
        settings: a dataclass.
        rooms: whose code decides the numbers.
    """
    parts = (recorded["weights_sha256"], repr(settings), recorded["versions"], code(rooms))
    return hashlib.sha256(repr(parts).encode()).hexdigest()
