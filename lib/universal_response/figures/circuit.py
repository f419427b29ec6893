"""Whether the heads that were found are the circuit."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from universal_response import response
from universal_response.figures.panels import band
from universal_response.figures.style import ACCENT, CATEGORIES, GREY, style, tag_all
from universal_response.heads import summaries


def circuit(study: xr.Dataset) -> Figure:
    """Faithfulness, completeness, minimality; lens and response; probes, neurons, subspaces.

    Args:
        study: of `heads.study_heads`.
    """
    with style():
        figure, grid = plt.subplots(3, 3, figsize=(9.6, 8.8), layout="constrained")
        faithfulness_panel(grid[0, 0], study)
        completeness_panel(grid[0, 1], study)
        minimality_panel(grid[0, 2], study)
        lens_panel(grid[1, 0], study)
        saturation_panel(grid[1, 1], study)
        probes_panel(grid[1, 2], study)
        neurons_panel(grid[2, 0], study)
        places_panel(grid[2, 1], study)
        reading_panel(grid[2, 2], study)
        tag_all(grid)
    return figure


def faithfulness_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """(m(C) - m()) / (m(M) - m()) against the number of heads, means before the ratio."""
    found = summaries.faithfulness_by_size(dataset)
    for name, colour in zip(found.ranking.values, (ACCENT, GREY, "0.7"), strict=True):
        one = found.sel(ranking=name)
        axes.errorbar(
            one.circuit_size, one["mean"], yerr=one.error, color=colour, marker=".", linewidth=1,
            elinewidth=0.7, label=str(name),
        )  # fmt: skip
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks([0, 1, 4, 16, 64], ["0", "1", "4", "16", "64"])
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlabel="heads in the circuit", ylabel="faithfulness")
    axes.legend(loc="best", title="heads")


def completeness_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """m(C without K) against m(M without K): a complete circuit lies on the diagonal."""
    looks = {"random": (CATEGORIES[0], "o"), "greedy": (ACCENT, "s"), "random circuit": (GREY, "x")}
    for kind, (colour, mark) in looks.items():
        mine = dataset.removal_kind.values == kind
        axes.plot(
            dataset.removal_model.values[mine], dataset.removal_circuit.values[mine], mark,
            color=colour, markersize=4, label=kind,
        )  # fmt: skip
    ends = [float(dataset.removal_model.min()), float(dataset.removal_model.max())]
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    axes.set(xlabel=r"$m(M \setminus K)$", ylabel=r"$m(C \setminus K)$")
    axes.legend(loc="best", title="removed $K$")


def minimality_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Largest change of the circuit's metric by one of its heads."""
    ordered = dataset.minimality.sortby(dataset.minimality, ascending=False)
    axes.barh(np.arange(len(ordered)), ordered, color=CATEGORIES[0])
    axes.set_yticks(range(len(ordered)), ordered.circuit_head.values, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="largest change of the logit difference", ylabel="head of the circuit")


def lens_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Logit difference of the lens along l, and beside it the lead of the response at T0 - 1."""
    lens, lead = summaries.lens_by_position(dataset), summaries.lead_by_position(dataset)
    band(axes, lens["mean"], lens.error, "position", CATEGORIES[0], "logit lens")
    axes.set_ylabel("logit difference", color=CATEGORIES[0])
    axes.set_xlabel(r"position $\ell$")
    other = axes.twinx()
    other.spines["right"].set_visible(True)
    other.plot(lens.position[1:], lead[1:], color=ACCENT)
    other.axhline(0, color=ACCENT, linewidth=0.6, linestyle=":")
    other.set_ylabel(r"$\log_{10}$ $C_\Delta(T_0-1)/C_\Delta(T_0)$", color=ACCENT)


def saturation_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Three measures of one prediction along l, each from its least, 0, to its largest, 1."""
    for name, label, colour in (
        ("lens_logit_difference", "logit difference", CATEGORIES[0]),
        ("lens_log_probability", "log-probability", CATEGORIES[2]),
        ("lens_probability", "probability", ACCENT),
    ):
        way = summaries.part_of_the_way(dataset, name)
        axes.plot(np.arange(len(way)), way, color=colour, label=label)
    axes.set(xlabel=r"position $\ell$", ylabel="part of the way")
    axes.legend(loc="upper left")


def probes_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Held-out accuracy of linear probes along l; dotted, fitted to shuffled labels."""
    x = np.arange(dataset.sizes["position"])
    for name, colour in zip(dataset.probed.values, CATEGORIES, strict=False):
        at = {"probed": name}
        axes.plot(x, dataset.probe_accuracy.sel(at), color=colour, label=f"{name} token")
        axes.plot(x, dataset.probe_shuffled.sel(at), color=colour, linestyle=":", linewidth=0.8)
    axes.set(xlabel=r"position $\ell$", ylabel="accuracy of a linear probe", ylim=(0, 1.05))
    axes.legend(loc="best")


def neurons_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Logit difference with the neurons of largest effect of one MLP at their means, or others."""
    found = response.mean_and_error(dataset.neuron_logit_difference, "mapped_sequence")
    for name, colour in zip(found.neuron_ranking.values, (ACCENT, GREY), strict=True):
        one = found.sel(neuron_ranking=name)
        axes.errorbar(
            one.neuron_count, one["mean"], yerr=one.error, color=colour, marker=".", linewidth=1,
            elinewidth=0.7, label=str(name),
        )  # fmt: skip
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlabel(f"neurons of MLP {int(dataset.neuron_layer)} at their means")
    axes.set_ylabel("logit difference")
    axes.legend(loc="best")


def places_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Overlap of the spaces in which states vary with place and with token, and of random ones."""
    axes.plot(
        np.arange(dataset.sizes["position"]), dataset.place_token_overlap, color=CATEGORIES[0]
    )
    axes.axhline(float(dataset.random_overlap), color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlabel=r"position $\ell$", ylabel="overlap of place and token", ylim=(0, None))


def reading_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Overlap of what heads read by their values and what they write, of all heads in order."""
    ordered = np.sort(dataset.read_write_overlap.values.ravel())[::-1]
    axes.plot(np.arange(1, len(ordered) + 1), ordered, color=CATEGORIES[0])
    axes.axhline(float(dataset.read_write_by_chance), color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlabel="rank of the head", ylabel="overlap of reading and writing", ylim=(0, None))
