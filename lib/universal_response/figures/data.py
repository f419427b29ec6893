"""The numbers a matplotlib Figure draws, as a table: what a reader gets beside the picture."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle


def drawn_values(figure: Figure) -> pd.DataFrame:
    """Every number drawn in data coordinates, one a row.

    Returns:
        A table with the columns `panel` (its letter, with a number where it is an inset), `labels`
        (of the axes, y against x), `kind` (`line`, also for single points; `bar`; `image`; `band`,
        the outline of an error band), `series` (label of the curve, empty where it has none), `x`,
        `y`, and `value` (of an image; else nan).
    """
    panels: dict[Any, str] = {}
    for axes in figure.axes:
        letter = axes.get_title(loc="left").strip("()")
        panels[axes] = letter
        for number, inset in enumerate(axes.child_axes):
            panels[inset] = f"{letter} inset {number + 1}".strip()
    rows = [row for axes, panel in panels.items() for row in _rows(axes, panel)]
    columns = ["panel", "labels", "kind", "series", "x", "y", "value"]
    return pd.DataFrame(rows, columns=columns)


def _rows(axes: Axes, panel: str) -> list[tuple]:
    about = f"{axes.get_ylabel()} against {axes.get_xlabel()}"
    rows: list[tuple] = []
    for line in axes.lines:
        # Both coordinates in data units: not a line across the whole panel.
        if all(line.get_transform().contains_branch_seperately(axes.transData)):
            label = str(line.get_label())
            # matplotlib's own labels of nameless lines
            series = "" if label.startswith("_child") else label.lstrip("_")
            points = line.get_xydata()
            rows += [(panel, about, "line", series, x, y, np.nan) for x, y in np.asarray(points)]
    for container in axes.containers:
        if isinstance(container, BarContainer):
            rows += [
                (panel, about, "bar", "", *_end(bar, container.orientation), np.nan)
                for bar in container
            ]
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            for path in collection.get_paths():
                outline = np.asarray(path.vertices)
                rows += [(panel, about, "band", "", x, y, np.nan) for x, y in outline]
    for image in axes.images:
        rows += [(panel, about, "image", "", x, y, value) for x, y, value in _pixels(image)]
    return rows


def _end(bar: Rectangle, orientation: str | None) -> tuple[float, float]:
    """Where a bar ends, on its middle line."""
    if orientation == "horizontal":
        return bar.get_x() + bar.get_width(), bar.get_center()[1]
    return bar.get_center()[0], bar.get_y() + bar.get_height()


def _pixels(image: AxesImage) -> list[tuple[float, float, float]]:
    """Centre and value of every pixel that has one."""
    values: Any = np.ma.filled(np.ma.asarray(image.get_array(), float), np.nan)
    left, right, bottom, top = image.get_extent()
    n_rows, n_columns = values.shape
    # Row 0 is drawn at the top unless the origin is `lower`.
    first, last = (bottom, top) if image.origin == "lower" else (top, bottom)
    y = first + (np.arange(n_rows) + 0.5) * (last - first) / n_rows
    x = left + (np.arange(n_columns) + 0.5) * (right - left) / n_columns
    known = np.argwhere(np.isfinite(values))
    return [(x[column], y[row], values[row, column]) for row, column in known]
