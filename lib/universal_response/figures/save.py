"""A figure on disk: pictures, and the numbers it draws."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

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
    with style(), _laid_out(figure) as box:
        for path in paths[:-1]:
            figure.savefig(path, bbox_inches=box, metadata=undated.get(path.suffix))
    drawn_values(figure).to_csv(paths[-1], index=False, float_format="%.6g")
    return paths


@contextmanager
def _laid_out(figure: Figure) -> Iterator[Bbox]:
    """A figure that keeps its layout, and the box in inches that it fills.

    To lay it out takes longer than to draw it, and would be done for every format.
    """
    engine = figure.get_layout_engine()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    try:
        yield figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
    finally:
        figure.set_layout_engine(engine)
