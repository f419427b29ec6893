from .benchmarks import growth, speed
from .carried import carried, edited_panel, parts_panel, shares_panel
from .causes import against_panel, causes, classes_panel
from .circuit import (
    circuit,
    completeness_panel,
    faithfulness_panel,
    lens_panel,
    minimality_panel,
    neurons_panel,
    places_panel,
    probes_panel,
    reading_panel,
    saturation_panel,
)
from .data import drawn_values
from .fig1 import fig1
from .fig2 import collapse_panel, fig2, matrix_panel, ratio_panel
from .fig3 import fig3, increments_panel, layers_panel
from .fig4 import distances_panel, fig4, layer_map_panel
from .fig5 import deviation_inset, fig5
from .heads import CLASS_COLOURS, controls_panel, head_map, heads, mark_classes
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
from .wiring import composition_panel, through_panel, wiring

__all__ = [
    "ACCENT",
    "ATTENTION",
    "BLOCK",
    "CATEGORIES",
    "CLASS_COLOURS",
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
    "against_panel",
    "approach_panel",
    "carried",
    "causes",
    "circuit",
    "classes_panel",
    "collapse_panel",
    "colormap",
    "completeness_panel",
    "composition_panel",
    "controls_panel",
    "deviation_inset",
    "distances_panel",
    "drawn_values",
    "edited_panel",
    "epsilon_colours",
    "error_map_panel",
    "error_panel",
    "explained_panel",
    "faithfulness_panel",
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "growth",
    "head_map",
    "heads",
    "increments_panel",
    "layer_map_panel",
    "layers_panel",
    "lens_panel",
    "linear_limit",
    "mark_classes",
    "matrix_panel",
    "minimality_panel",
    "neurons_panel",
    "orders_panel",
    "parts_panel",
    "peak_shift",
    "places_panel",
    "probes_panel",
    "prompt_matrix",
    "ratio_panel",
    "reading_panel",
    "saturation_panel",
    "save",
    "shares_panel",
    "speed",
    "style",
    "subtraction",
    "through_panel",
    "wiring",
]
