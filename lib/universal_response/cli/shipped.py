"""What a checkout of the project ships, beside the library."""

from pathlib import Path

ROOT = Path(__file__).parents[3]


def shipped(folder: str, pattern: str) -> list[Path]:
    """Files of a folder of the checkout.

    Raises:
        ValueError: there are none.
    """
    found = sorted((ROOT / folder).glob(pattern))
    if not found:
        raise ValueError(f"{folder}: none in {ROOT / folder}; run from a checkout of the project")
    return found
