"""A figure on disk: pictures, and the numbers it draws."""

from pathlib import Path

from matplotlib.figure import Figure

from universal_response.figures.data import drawn_values
from universal_response.figures.style import style


def save(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, and the numbers it draws as CSV (`drawn_values`).

    Returns:
        The paths written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("png", "svg", "pdf", "csv")]
    # Without a date the same figure gives the same file.
    undated: dict[str, dict] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with style():
        for path in paths[:-1]:
            figure.savefig(path, bbox_inches="tight", metadata=undated.get(path.suffix))
    drawn_values(figure).to_csv(paths[-1], index=False, float_format="%.6g")
    return paths
