"""Where results are written: a place for no file is refused before anything is measured."""

from pathlib import Path


def check_file(path: Path, name: str = "out") -> None:
    """Refuse a folder in the place of a file.

    Args:
        path: of the file to write.
        name: of the parameter that said so.

    Raises:
        ValueError: the path is a folder.
    """
    if path.is_dir():
        raise ValueError(f"{name}={path}: is a folder; give the name of a file in it")
