"""Devices by name: whether there is such a one, and whether it is on this machine."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def check_device(device: str) -> None:
    """Refuse a name of no device, or a device that this machine does not have.

    PyTorch is asked, and imported, only where the name leaves a doubt.

    Raises:
        ValueError: as for `resolve_device`.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device={device}: choose auto, cpu, cuda, cuda:1 or mps")
    if device not in ("auto", "cpu"):
        resolve_device(device)


def resolve_device(device: str) -> "torch.device":
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there.

    Raises:
        ValueError: unknown device, or one this machine does not have.
    """
    import torch  # takes a second, and a name is checked without it

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device}: choose auto, cpu, cuda, cuda:1 or mps") from None
    there = {
        "cpu": True,
        "cuda": 0 <= (resolved.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(resolved.type, False):
        present = [name for name, is_there in there.items() if is_there and name != resolved.type]
        raise ValueError(
            f"device={device}: not on this machine; choose auto or {', '.join(present)}"
        )
    return resolved
