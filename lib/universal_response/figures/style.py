"""The one look of all figures: colours, symbols, tags."""

import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from universal_response import response
from universal_response.metrics import METRICS

# Okabe and Ito's colour-blind-safe palette; green and blue as the caption of Fig. 3 has them.
ATTENTION, MLP, BLOCK = "#009E73", "#0072B2", "#999999"

ACCENT, GREY = "#D55E00", "0.45"

CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

SUBLAYERS = {"attention": (ATTENTION, "MHA"), "mlp": (MLP, "MLP"), "block": (BLOCK, "block")}

EMPTY = "0.82"  # where nothing responds, or only a leak (`panels.position_axis`)

# The caption of Fig. 5 speaks of two orders of magnitude, that of Fig. 2 of strengths below 0.1.
TWO_DECADES = (1e-3, 0.1)

THETA = "theta_source"

SYMBOL = {name: metric.symbol for name, metric in METRICS.items()}

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.3,
    "image.interpolation": "nearest",
    "mathtext.fontset": "cm",
    "svg.hashsalt": "universal-response",
}


@contextmanager
def style() -> Iterator[None]:
    """The one look of all figures, restored on leaving."""
    with mpl.rc_context(STYLE):
        yield


def colormap(metric: str) -> mpl.colors.Colormap:
    """The colours of maps of a metric: two-sided for cosines."""
    return mpl.colormaps["RdBu_r" if is_cosine(metric) else "viridis"].with_extremes(bad="white")


def is_cosine(metric: str) -> bool:
    return response.POWER[metric] == 0


def symbol(metric: str) -> str:
    return rf"C_{{{SYMBOL[metric]}}}"


def symbol_mean(metric: str) -> str:
    return rf"\overline{{C}}_{{{SYMBOL[metric]}}}"


def symbol_chi(metric: str) -> str:
    return rf"\chi_{{{SYMBOL[metric]}}}"


def distance_name(dataset: xr.Dataset, offset: int) -> str:
    """The distance of the peak plus an offset, in a formula: by T_0 if a block is that long."""
    peak = response.peak_distance(dataset)
    if peak != dataset.attrs["t0"] - 1:
        return str(peak + offset)
    return "T_0" if offset == 1 else f"T_0 {offset - 1:+d}"


def tag(axes: Axes, letter: str) -> None:
    axes.set_title(f"({letter})", loc="left", fontweight="bold")


def tag_all(grid: np.ndarray) -> None:
    for axes, letter in zip(grid.ravel(), string.ascii_lowercase, strict=False):
        tag(axes, letter)


def shades(n: int) -> list[Any]:
    """Colours of n members of a series, from dark to light."""
    return list(mpl.colormaps["viridis"](np.linspace(0, 0.9, n)))


def epsilon_norm(dataset: xr.Dataset) -> LogNorm:
    epsilon = dataset.epsilon.values
    return LogNorm(epsilon.min() / 1.5, epsilon.max() * 2.5)


def epsilon_colours(dataset: xr.Dataset) -> list[tuple[float, tuple[float, float, float, float]]]:
    """Every measured strength with its colour (red, green, blue, opacity), weak ones dark."""
    norm, colormap = epsilon_norm(dataset), mpl.colormaps["viridis"]
    return [(float(epsilon), colormap(norm(epsilon))) for epsilon in dataset.epsilon.values]
