from .benchmarks import growth, speed
from .data import drawn_values
from .fig1 import fig1
from .fig2 import collapse_panel, fig2, matrix_panel, ratio_panel
from .fig3 import fig3, increments_panel, layers_panel
from .fig4 import distances_panel, fig4, layer_map_panel
from .fig5 import deviation_inset, fig5
from .linear_limit import approach_panel, explained_panel, linear_limit, orders_panel
from .peak_shift import peak_shift
from .prompt import LABEL_LENGTH, LABEL_POINTS, prompt_matrix
from .save import save
from .style import (
    ACCENT,
    ATTENTION,
    BLOCK,
    CATEGORIES,
    EMPTY,
    GREY,
    MLP,
    STYLE,
    SUBLAYERS,
    SYMBOL,
    THETA,
    TWO_DECADES,
    colormap,
    epsilon_colours,
    style,
)
from .subtraction import error_map_panel, error_panel, subtraction

__all__ = [
    "ACCENT",
    "ATTENTION",
    "BLOCK",
    "CATEGORIES",
    "EMPTY",
    "GREY",
    "LABEL_LENGTH",
    "LABEL_POINTS",
    "MLP",
    "STYLE",
    "SUBLAYERS",
    "SYMBOL",
    "THETA",
    "TWO_DECADES",
    "approach_panel",
    "collapse_panel",
    "colormap",
    "deviation_inset",
    "distances_panel",
    "drawn_values",
    "epsilon_colours",
    "error_map_panel",
    "error_panel",
    "explained_panel",
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "growth",
    "increments_panel",
    "layer_map_panel",
    "layers_panel",
    "linear_limit",
    "matrix_panel",
    "orders_panel",
    "peak_shift",
    "prompt_matrix",
    "ratio_panel",
    "save",
    "speed",
    "style",
    "subtraction",
]
