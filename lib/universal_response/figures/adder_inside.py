"""What can be read of the states of a model that adds, and what its neurons hold."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from universal_response.arithmetic import summaries
from universal_response.figures.adder_effects import place_name, places_along
from universal_response.figures.panels import band
from universal_response.figures.style import ACCENT, CATEGORIES, GREY, style, tag_all

FOLLOWED = {
    "right": (ACCENT, "right digit"),
    "first": (CATEGORIES[0], "digit of $a$"),
    "second": (CATEGORIES[2], "digit of $b$"),
    "other": (GREY, "another digit"),
}


def adder_probes(study: xr.Dataset) -> Figure:
    """What of a problem can be read by linear probes, by l and place; and the logit lens along l.

    Args:
        study: of `arithmetic.study_arithmetic`.
    """
    gain = summaries.probe_gain(study)
    with style():
        n = gain.sizes["label"]
        figure, grid = plt.subplots(
            n // 3 + 1, 3, figsize=(9.6, 2.2 * (n // 3 + 1)), layout="constrained"
        )
        for axes, label in zip(grid.ravel(), gain.label.values, strict=False):
            drawn = probe_panel(axes, gain.sel(label=label))
        lens_panel(grid.ravel()[n], study)
        for axes in grid.ravel()[n + 1 :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(r"position $\ell$")
        figure.colorbar(drawn, ax=grid[:, -1], label="accuracy: chance 0, perfect 1", shrink=0.6)
        tag_all(grid)
    return figure


def probe_panel(axes: Axes, gain: xr.DataArray) -> AxesImage:
    """Accuracy above chance of probes for one thing, (position, place_read)."""
    drawn = axes.imshow(gain, vmin=0, vmax=1, cmap="viridis", aspect="auto", origin="lower")
    places_along(axes, gain.place_read.values)
    axes.set_yticks(range(gain.sizes["position"]))
    label = str(gain.label.values)
    name = f"probe for {place_name(label) if label[-1].isdecimal() else 'the carry'}"
    axes.set_title(name, fontsize=9)
    return drawn


def lens_panel(axes: Axes, study: xr.Dataset) -> None:
    """Logit lens of the right digit, of the operands' digits and of another, along l."""
    found = summaries.mean_over_operand_digits(study, "lens")
    x = found.assign_coords(position=range(found.sizes["position"]))
    for name, (colour, label) in FOLLOWED.items():
        one = x.sel(followed=name)
        band(axes, one["mean"], one.error, "position", colour, label)
    axes.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes.set(xlabel=r"position $\ell$", ylabel="logit less the mean")
    axes.legend(loc="upper left", fontsize=7)


def adder_neurons(study: xr.Dataset, operation: str = "sums") -> Figure:
    """Of the neurons of largest effect: what each responds to, and which digits it promotes.

    Args:
        study: of `arithmetic.study_arithmetic`.
        operation: `sums` or `differences`.
    """
    at = {"operation": operation}
    keys, values = study.neuron_key.sel(at), study.neuron_value.sel(at)
    names = study.neuron_order.isel(layer=-1).sel(at).values
    with style():
        figure, grid = plt.subplots(
            2, keys.sizes["shown"], figsize=(9.8, 3.9), layout="constrained",
            height_ratios=(1.3, 1), sharex="row", sharey="row",
        )  # fmt: skip
        for k, (upper, lower) in enumerate(grid.T):
            reach = float(abs(keys[k]).max())
            upper.imshow(keys[k], vmin=-reach, vmax=reach, cmap="RdBu_r", origin="lower")
            upper.set_title(f"neuron {names[k]}", fontsize=9)
            lower.bar(np.arange(10), values[k], color=CATEGORIES[0])
            lower.axhline(0, color=GREY, linewidth=0.6)
            upper.set(xlabel="$b_0$", xticks=(0, 5, 9), yticks=(0, 5, 9))
            lower.set(xlabel="digit", xticks=(0, 5, 9))
        grid[0, 0].set_ylabel("$a_0$")
        grid[1, 0].set_ylabel("added to\nits logit")
    return figure
