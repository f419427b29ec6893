"""Dataset -> matplotlib Figure: one function a figure, one a panel; draws data, measures nothing.

`fig1` ... `fig5` follow the captions of the paper panel by panel. The panel functions take an Axes,
so a user can place them in a figure of their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import NullFormatter

from universal_response import measurement, models, response
from universal_response.figures.data import drawn_values
from universal_response.subtraction import typical_error

# Okabe and Ito's colour-blind-safe palette; green and blue as the caption of Fig. 3 has them.
ATTENTION, MLP, BLOCK = "#009E73", "#0072B2", "#999999"
ACCENT, GREY = "#D55E00", "0.45"
CATEGORIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SUBLAYERS = {"attention": (ATTENTION, "MHA"), "mlp": (MLP, "MLP"), "block": (BLOCK, "block")}

EMPTY = "0.82"  # cells of a map where nothing responds

# The caption of Fig. 5 speaks of two orders of magnitude, that of Fig. 2 of strengths below 0.1.
TWO_DECADES = (1e-3, 0.1)

THETA = "theta_source"
SYMBOL = {
    "delta": r"\Delta",
    "phi": r"\varphi",
    "theta_source": r"\vartheta",
    "theta_state": r"\vartheta",
    "theta_perturbation": r"\vartheta",
}

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


def fig1(dataset: xr.Dataset, source: int | None = None) -> Figure:
    """Fig. 1: the input, the perturbation and the three metrics, from a measurement.

    Args:
        dataset: results of one model.
        source: the perturbed token position i, in the first block; a quarter into it if None.

    Raises:
        ValueError: source is not in the first block.
    """
    t0 = int(dataset.attrs["t0"])
    source = t0 // 4 if source is None else source
    if not 0 <= source < t0:
        raise ValueError(f"source={source}: outside the first block; use 0 <= source < {t0}")
    with style():
        figure = plt.figure(figsize=(8.6, 6.3), layout="constrained")
        rows = figure.add_gridspec(3, 3, height_ratios=(0.75, 1.55, 1.7))
        _sequence_strip(figure.add_subplot(rows[0, :]), dataset, source)
        _residual_stream_sketch(figure.add_subplot(rows[1, :2]))
        _metric_sketch(figure.add_subplot(rows[1, 2]))
        for column, metric in enumerate(("delta", "phi", THETA)):
            axes = figure.add_subplot(rows[2, column])
            row = dataset.matrix.sel(metric=metric).isel(source=source)
            target = np.arange(source, 2 * t0)
            axes.plot(target, row[source:], color=CATEGORIES[0], marker=".", markersize=3)
            axes.axvline(source + t0 - 1, color=GREY, linestyle="--", linewidth=1)
            if metric != THETA:
                _log_scale(axes)
            axes.set_xlabel("token position $j$")
            axes.set_ylabel(f"${_c(metric)}(i={source},\\,j)$")
            _tag(axes, "abc"[column])
    return figure


def fig2(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi")) -> Figure:
    """Fig. 2 (a-f): response matrices, collapse of the response functions, scaling function."""
    epsilon0 = float(dataset.attrs["epsilon0"])
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(8.8, 5.6), layout="constrained")
        for row, metric in enumerate(metrics):
            image = matrix_panel(grid[row, 0], dataset, metric)
            figure.colorbar(image, ax=grid[row, 0], shrink=0.85, label=f"${_c(metric)}$")
            collapse_panel(grid[row, 1], dataset, metric)
            ratio_panel(grid[row, 2], dataset, metric, epsilon0)
        _tag_all(grid)
        _epsilon_colorbar(figure, grid, dataset)
    return figure


def fig3(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi", THETA)) -> Figure:
    """Fig. 3 (a-f): the response at dj = T0 - 1 along the residual stream, and its increments."""
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(8.8, 5.4), layout="constrained")
        for column, metric in enumerate(metrics):
            layers_panel(grid[0, column], dataset, metric)
            increments_panel(grid[1, column], dataset, metric)
        _tag_all(grid)
        _epsilon_colorbar(figure, grid, dataset)
        handles = [Rectangle((0, 0), 1, 1, color=colour) for colour, _ in _present(dataset)]
        grid[1, 0].legend(handles, [label for _, label in _present(dataset)], loc="upper left")
    return figure


def fig4(dataset: xr.Dataset, metrics: Sequence[str] = ("delta", "phi", THETA)) -> Figure:
    """Fig. 4 (a-f): the response against dj and position l, and along l for single dj."""
    epsilon0 = float(dataset.attrs["epsilon0"])
    with style():
        figure, grid = plt.subplots(2, 3, figsize=(8.8, 5.9), layout="constrained")
        for column, metric in enumerate(metrics):
            onset = response.induction_onset(dataset, epsilon0, metric)
            image = layer_map_panel(grid[0, column], dataset, metric, epsilon0)
            label = f"${_bar(metric)}$" + ("" if _is_cosine(metric) else " / row maximum")
            extend = "both" if _is_cosine(metric) else "neither"
            figure.colorbar(image, ax=grid[0, column], shrink=0.85, label=label, extend=extend)
            distances_panel(grid[1, column], dataset, metric, epsilon0)
            if onset.position is not None:
                grid[0, column].axhline(
                    onset.position - 0.5, color="white", linewidth=1, linestyle=":"
                )
                grid[1, column].axvline(onset.position, color=GREY, linewidth=1, linestyle=":")
        grid[1, 0].legend(
            loc="lower right", title=r"$\Delta j$", frameon=True, edgecolor="none", framealpha=1
        )
        _tag_all(grid)
    return figure


def fig5(datasets: Mapping[str, xr.Dataset | None], epsilon0: float = 0.03) -> Figure:
    """Fig. 5 (a-f): scaling and emergence of induction, a column for each model.

    Args:
        datasets: results by model name or file, in the order of the columns; None where a model
            has not been measured: its column says so instead of showing a panel.
        epsilon0: reference strength of the ratios.
    """
    n = len(datasets)
    with style():
        figure, grid = plt.subplots(
            2, n, figsize=(max(2.95 * n, 4.2), 5.5), layout="constrained", squeeze=False
        )
        for column, (name, dataset) in enumerate(datasets.items()):
            top, bottom = grid[:, column]
            if dataset is None:
                _slot(top, bottom, name)
                continue
            layers = measurement.architecture_of(dataset)["layers"]
            top.set_title(f"{models.title(dataset.attrs['model'])} ($L={layers}$)")
            ratio_panel(top, dataset, "delta", epsilon0)
            low, high = top.get_ylim()
            top.set_ylim(low, low * (high / low) ** 1.45)  # room for the inset
            top.axvline(epsilon0, ymax=0.64, color=GREY, linewidth=0.8)  # up to the inset
            deviation_inset(top, dataset, "delta", epsilon0)
            image = layer_map_panel(bottom, dataset, "delta", float(dataset.attrs["epsilon0"]))
            figure.colorbar(image, ax=bottom, shrink=0.85, label=f"${_bar('delta')}$ / row maximum")
        _tag_all(grid)
    return figure


def peak_shift(datasets: Mapping[str, xr.Dataset]) -> Figure:
    """The finding in one picture: the peak at dj = T0 early in a model, at T0 - 1 at its end.

    One panel a model: C_delta around dj = T0 at `response.same_token_position` and at l = 2L, each
    divided by its maximum in the window. Bands: one standard error.

    Args:
        datasets: results by title. Where no position has its peak at T0 only l = 2L is drawn.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(datasets), figsize=(4.3 * len(datasets), 3.0), layout="constrained",
            squeeze=False, sharey=True,
        )  # fmt: skip
        for axes, (name, dataset) in zip(grid[0], datasets.items(), strict=True):
            _peak_shift_panel(axes, dataset)
            axes.set_title(name, pad=18)
        grid[0, 0].set_ylabel(r"response $\overline{C}_{\Delta}$ / maximum")
    return figure


def _peak_shift_panel(axes: Axes, dataset: xr.Dataset) -> None:
    t0, epsilon0 = int(dataset.attrs["t0"]), float(dataset.attrs["epsilon0"])
    at = {"metric": "delta", "delta_j": response.window(t0)}
    curves = response.at_epsilon(dataset.response.sel(at), epsilon0)
    errors = response.at_epsilon(dataset.response_sem.sel(at), epsilon0)
    same = response.same_token_position(dataset, epsilon0)
    for position, colour, words in (
        (same, CATEGORIES[0], "early"),
        (response.last(dataset), ACCENT, "last"),
    ):
        if position is None:
            continue
        curve, error = curves.sel(position=position), errors.sel(position=position)
        label = rf"$\ell = {position}$ ({words})"
        _band(axes, curve / curve.max(), error / curve.max(), "delta_j", colour, label)
    for where, words, side in ((t0 - 1, "the token before", "right"), (t0, "same token", "left")):
        axes.axvline(where, color=GREY, linestyle=":", linewidth=0.9, zorder=0)
        axes.annotate(
            words, (where, 1.02), (-3 if side == "right" else 3, 0), textcoords="offset points",
            xycoords=axes.get_xaxis_transform(), ha=side, fontsize=8, color=GREY,
        )  # fmt: skip
    axes.set_xticks([t0 - 5, t0 - 1, t0, t0 + 5], ["$T_0-5$", "$T_0-1$  ", "  $T_0$", "$T_0+5$"])
    axes.set_xlabel(r"distance $\Delta j$ from the weakened token")
    axes.legend(loc="upper right")


def linear_limit(datasets: Mapping[str, xr.Dataset], epsilon0: float = 0.03) -> Figure:
    """Why the response is universal: the approach to the exact limit, a column for each model.

    Rows: C_delta / epsilon against dj and its limit; the deviation of the two against epsilon; the
    deviation delta(epsilon) of Fig. 5 and what the higher orders predict for it.
    """
    with style():
        figure, grid = plt.subplots(
            3, len(datasets), figsize=(4.4 * len(datasets), 8.2), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for column, dataset in enumerate(datasets.values()):
            top, middle, bottom = grid[:, column]
            top.set_title(models.title(dataset.attrs["model"]))
            approach_panel(top, dataset, "delta")
            orders_panel(middle, dataset, "delta")
            explained_panel(bottom, dataset, "delta", epsilon0)
        for axes in grid[:, 0]:
            axes.legend(loc="best", fontsize=7)
        _tag_all(grid)
    return figure


def approach_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """C / epsilon^power at l = 2L for every strength, and the exact limit as a black line.

    Args:
        axes: to draw on.
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
    """
    t0 = int(dataset.attrs["t0"])
    at = {"metric": metric, "position": response.last(dataset)}
    power = response.POWER[metric]
    curves = dataset.response.sel(at) / dataset.epsilon**power
    for epsilon, colour in epsilon_colours(dataset):
        axes.plot(
            dataset.delta_j, curves.sel(epsilon=epsilon), color=colour, linewidth=0.8,
            label=rf"$\varepsilon={epsilon:g}$" if epsilon in _ends(dataset) else None,
        )  # fmt: skip
    limit, error = response.measured_linear(dataset).sel(at), dataset.linear_sem.sel(at)
    _band(axes, limit, error, "delta_j", "black", "linear limit")
    axes.axvline(t0 - 1, color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    _log_scale(axes)
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(f"${_bar(metric)} / \\varepsilon{'^2' if power == 2 else ''}$")


def orders_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """|C / (epsilon^power linear) - 1| at l = 2L: every dj, their root mean square, and its terms.

    The terms are b epsilon and c epsilon^2 of `response.higher_orders`, each as its root mean
    square over dj.

    Args:
        axes: to draw on.
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
    """
    at = {"metric": metric, "position": response.last(dataset)}
    linear = response.measured_linear(dataset).sel(at)
    ratio = response.linear_ratio(dataset.response.sel(at), linear, metric)
    epsilon = dataset.epsilon
    axes.plot(
        epsilon, abs(ratio - 1).transpose("epsilon", "delta_j"), linestyle="none", marker=".",
        markersize=2, alpha=0.3, color=CATEGORIES[5], rasterized=True,
    )  # fmt: skip
    axes.plot(epsilon, _rms(ratio - 1), "o-", markersize=3.5, color=CATEGORIES[0],
              label=r"root mean square over $\Delta j$")  # fmt: skip
    axes.plot(epsilon, np.abs((ratio - 1).mean("delta_j")), "s", markersize=3, color=ACCENT,
              label=r"|mean over $\Delta j$|")  # fmt: skip
    b, c = response.higher_orders(ratio)
    for coefficient, power, line in ((b, 1, "--"), (c, 2, ":")):
        label = rf"${'bc'[power - 1]}\,\varepsilon{'^2' if power == 2 else ''}$"
        axes.plot(epsilon, float(_rms(coefficient)) * epsilon**power, line, color="0.25",
                  linewidth=1, label=label)  # fmt: skip
    axes.axhline(0.05, color=GREY, linewidth=0.8)
    axes.text(float(epsilon[0]), 0.055, "5 %", color=GREY, fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 3)
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(rf"$|{_bar(metric)} / (\varepsilon\,\mathrm{{linear}}) - 1|$")


def explained_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """delta(epsilon) of Fig. 5 and its prediction from the limit and two higher orders.

    Args:
        axes: to draw on.
        dataset: results of one model, with its linear limit.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    at = {"metric": metric, "position": response.last(dataset)}
    deviation = response.relative_deviation(dataset, metric, epsilon0)["mean"]
    linear = response.measured_linear(dataset).sel(at)
    ratio = response.linear_ratio(dataset.response.sel(at), linear, metric)
    b, c = response.higher_orders(ratio)
    fine = xr.DataArray(np.geomspace(dataset.epsilon.min(), dataset.epsilon.max(), 200), dims="x")
    reference = 1 + b * epsilon0 + c * epsilon0**2
    predicted = ((1 + b * fine + c * fine**2) / reference - 1).mean("delta_j")
    limit = _weak_limit(ratio, epsilon0)
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
    axes.axvline(epsilon0, color=GREY, linewidth=0.8)
    axes.axhline(limit, color=CATEGORIES[0], linewidth=0.9, label="from the linear limit alone")
    axes.plot(
        fine, predicted, color="0.25", linewidth=1, label="with two higher orders, fitted up to 0.1"
    )
    axes.plot(dataset.epsilon, deviation, "o", markersize=3.5, color=ACCENT,
              label=r"$\delta(\varepsilon)$ of Fig. 5")  # fmt: skip
    axes.set_xscale("log")
    low, high = float(deviation.min()), float(deviation.max())
    room = 0.35 * (high - low) + 0.01
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(r"$\delta$")


def subtraction(errors: Mapping[str, xr.Dataset]) -> Figure:
    """What subtraction costs: its error against strength and number type, one column a model.

    Args:
        errors: of `subtraction.measure_subtraction`, by the title of their model.
    """
    with style():
        figure, axes = plt.subplots(
            2, len(errors), figsize=(1.2 + 3.7 * len(errors), 5.6), layout="constrained",
            squeeze=False, sharex=True, sharey="row", height_ratios=(1, 1.5),
        )  # fmt: skip
        for (name, dataset), (top, bottom) in zip(errors.items(), axes.T, strict=True):
            drawn = error_map_panel(top, dataset)
            error_panel(bottom, dataset)
            top.set_title(name)
        axes[1, 0].set_ylabel(r"error relative to the carried $C_{\Delta}$")
        axes[1, 0].legend(loc="lower left")
        bar = figure.colorbar(drawn, ax=axes[0], extend="both")
        bar.set_label("median error")
        _tag_all(axes)
    return figure


def error_map_panel(axes: Axes, dataset: xr.Dataset) -> QuadMesh:
    """Median relative error of the plain way, a row a number type.

    Args:
        axes: to draw on, with a logarithmic strength below.
        dataset: of `subtraction.measure_subtraction`.

    Returns:
        The cells, for a colour bar.
    """
    error = typical_error(dataset).transpose("number_type", "epsilon")
    edge = _log_edges(dataset.epsilon.values)
    drawn = axes.pcolormesh(
        edge, np.arange(len(error) + 1), error.clip(1e-7),
        norm=LogNorm(1e-6, 1), cmap="cividis", edgecolors="white", linewidth=0.4,
    )  # fmt: skip
    axes.set_yticks(np.arange(len(error)) + 0.5, error.number_type.values)
    axes.set_xscale("log")
    axes.tick_params(axis="y", length=0)
    return drawn


def error_panel(axes: Axes, dataset: xr.Dataset) -> None:
    """Median relative error of the plain way against strength, and the band of 80 % of the pairs.

    Args:
        axes: to draw on.
        dataset: of `subtraction.measure_subtraction`.
    """
    low, middle, high = (typical_error(dataset, quantile) for quantile in (0.1, 0.5, 0.9))
    marks = zip(dataset.number_type.values, CATEGORIES, "os^D", strict=False)
    for number_type, colour, mark in marks:
        at = {"number_type": number_type}
        axes.fill_between(
            dataset.epsilon, low.sel(at), high.sel(at), color=colour, alpha=0.15, linewidth=0
        )
        axes.plot(
            dataset.epsilon, middle.sel(at), color=colour, marker=mark, markersize=3.5,
            label=str(number_type),
        )  # fmt: skip
    axes.axvspan(*TWO_DECADES, color="0.93", zorder=0)
    axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel=r"perturbation strength $\varepsilon$")
    axes.set_ylim(1e-7, 1e3)


def _log_edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around numbers on a logarithmic axis."""
    middle = np.sqrt(centres[:-1] * centres[1:])
    return np.concatenate([[centres[0] ** 2 / middle[0]], middle, [centres[-1] ** 2 / middle[-1]]])


def speed(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """Times of several ways to compute the same, one panel a comparison.

    Bars are medians over repetitions, points the repetitions; the line is the shortest possible
    time at the measured matrix-product rate.

    Args:
        comparisons: as `benchmarks compare` writes them.
    """
    with style():
        figure, grid = plt.subplots(
            1, len(comparisons), figsize=(4.2 * len(comparisons), 2.8), layout="constrained",
            squeeze=False,
        )  # fmt: skip
        for axes, found in zip(grid[0], comparisons, strict=True):
            _speed_panel(axes, found)
        if len(comparisons) > 1:
            _tag_all(grid)
    return figure


def _speed_panel(axes: Axes, found: Mapping[str, Any]) -> None:
    contenders = found["contenders"]
    for place, (name, row) in enumerate(contenders.items()):
        ours = name in ("engine", "linear")
        axes.barh(place, row["median_s"], color=ACCENT if ours else "0.75", height=0.65)
        axes.plot(row["seconds"], [place] * len(row["seconds"]), ".", color="0.2", markersize=4)
        axes.annotate(
            f"{row['median_s']:.0f} s, {row['times_engine']:.2g}x",
            (max(row["seconds"]), place), (4, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    limit = found["limit"]["seconds"]
    axes.axvline(limit, color=GREY, linestyle="--", linewidth=0.9)
    axes.annotate(
        "shortest possible", (limit, -0.75), (3, 0), textcoords="offset points", fontsize=7,
        color=GREY, va="center", annotation_clip=False,
    )  # fmt: skip
    axes.set_yticks(range(len(contenders)), list(contenders))
    axes.set_ylim(len(contenders) - 0.4, -1)
    axes.set_xlim(0, 1.3 * max(max(row["seconds"]) for row in contenders.values()))
    axes.set_xlabel("time (s)")
    axes.set_title(models.title(found["case"]["model"]))


def growth(found: Mapping[str, Any]) -> Figure:
    """Time of the engine against every size that was varied, with a line of constant speed.

    Args:
        found: as `benchmarks growth` writes it.
    """
    labels = {
        "t0": r"$T_0$",
        "sequences": "sequences",
        "epsilons": "strengths",
        "layers": r"layers $L$",
    }
    with style():
        figure, grid = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained", sharey=True)
        for axes, (name, points) in zip(grid, found["growth"].items(), strict=True):
            sizes = [point[name] for point in points]
            work = np.array([point["token_passes"] * point["layers"] for point in points])
            largest = points[-1]["median_s"] / work[-1]
            axes.plot(sizes, work * largest, "--", color=GREY, label="constant speed")
            for point in points:
                seconds = point["seconds"]
                axes.plot([point[name]] * len(seconds), seconds, ".", color="0.4", markersize=4)
            axes.plot(sizes, [point["median_s"] for point in points], "o-", color=MLP, markersize=4)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_xlabel(labels[name])
        grid[0].set_ylabel("time (s)")
        grid[0].legend()
        _tag_all(np.array([grid]))
    return figure


def matrix_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> AxesImage:
    """Response matrix C(i, j) at l = 2L and epsilon0 (Fig. 2a, 2d).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.

    Returns:
        The image, for a colour bar.
    """
    t0 = int(dataset.attrs["t0"])
    matrix = dataset.matrix.sel(metric=metric).values
    causal = np.where(np.triu(np.ones_like(matrix)) > 0, matrix, np.nan)
    if _is_cosine(metric):
        norm: Normalize = Normalize(-1, 1)
    else:
        norm = LogNorm(*np.nanpercentile(causal[causal > 0], (2, 99.8)))
    image = axes.imshow(causal, norm=norm, cmap=colormap(metric), origin="upper")
    # Where the diagonal dj = T0 - 1 enters and leaves the matrix; a line along it would hide it.
    for where in ((t0 - 1, -0.5), (2 * t0 - 0.5, t0)):
        axes.plot(
            *where, marker="v" if where[1] < 0 else "<", color=ACCENT, markersize=5, clip_on=False
        )
    axes.text(
        t0 - 1, -0.07 * t0, r"$\Delta j=T_0-1$", color=ACCENT, ha="center", va="bottom", fontsize=8
    )
    axes.set_xlabel("target $j$")
    axes.set_ylabel("source $i$")
    ticks = np.arange(0, 2 * t0 + 1, max(t0 // 2, 1))
    axes.set_xticks(ticks[ticks < 2 * t0])
    axes.set_yticks(ticks[ticks < 2 * t0])
    axes.spines[["left", "bottom"]].set_visible(False)
    return image


def collapse_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response functions divided by chi(epsilon) (Fig. 2b, 2e); inset: as measured.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
    """
    epsilon0, t0 = float(dataset.attrs["epsilon0"]), int(dataset.attrs["t0"])
    at = {"metric": metric, "position": response.last(dataset)}
    curves, errors = dataset.response.sel(at), dataset.response_sem.sel(at)
    chi = response.scaling_function(dataset, metric, epsilon0)["mean"]
    inset = axes.inset_axes((0.15, 0.62, 0.42, 0.36))
    for epsilon, colour in epsilon_colours(dataset):
        one = {"epsilon": epsilon}
        scaled, error = curves.sel(one) / chi.sel(one), errors.sel(one) / chi.sel(one)
        _band(axes, scaled, error, "delta_j", colour, _named(epsilon))
        inset.plot(
            dataset.delta_j, curves.sel(one), color=colour, linewidth=0.6, label=_named(epsilon)
        )
    for each, top in ((axes, 0.6), (inset, 1)):  # up to the inset
        each.axvline(t0 - 1, ymax=top, color=GREY, linestyle="--", linewidth=0.9, zorder=0)
    # Room above the curves for the inset.
    low, high = np.nanpercentile((curves / chi).values, (0.5, 100))
    axes.set_ylim(low * 0.8, high * (high / low) ** 1.1)
    for each in (axes, inset):
        _log_scale(each)
    inset.tick_params(labelsize=6, length=2, pad=1)
    inset.set_title(f"${_bar(metric)}$", fontsize=8, pad=2)
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(f"${_bar(metric)} / {_chi(metric)}$")


def ratio_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """C(epsilon, dj) / C(epsilon0, dj) at l = 2L for every dj (Fig. 2c, 2f, 5a-c); dashed: theory.

    A point for each dj; the larger marker is their mean, the scaling function chi.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    points = response.ratios(dataset, metric, epsilon0)
    chi = response.scaling_function(dataset, metric, epsilon0)
    theory = response.theory(metric, dataset.epsilon, epsilon0)
    axes.plot(
        dataset.epsilon.values, theory.values, color=GREY, linestyle="--", zorder=1, label="theory"
    )
    for delta_j in dataset.delta_j.values:
        axes.plot(
            dataset.epsilon, points.sel(delta_j=delta_j), linestyle="none", marker=".",
            markersize=2, alpha=0.35, color=CATEGORIES[5], zorder=2, rasterized=True,
            label=f"_delta_j = {delta_j}",
        )  # fmt: skip
    axes.errorbar(
        dataset.epsilon.values, chi["mean"].values, yerr=chi["spread"].values,
        fmt="o", markersize=3.5, capsize=1.5,
        color=CATEGORIES[0], elinewidth=0.8, zorder=3, label=r"mean over $\Delta j$",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    if "linear" in dataset:
        at = {"metric": metric, "position": response.last(dataset)}
        reference = response.at_epsilon(dataset.response.sel(at), epsilon0)
        limit = (dataset.linear.sel(at) / reference).mean("delta_j")
        axes.plot(
            dataset.epsilon.values, dataset.epsilon.values ** response.POWER[metric] * float(limit),
            color=ACCENT, linewidth=0.9, zorder=2.5, label=r"linear limit",
        )  # fmt: skip
    axes.set_xlabel(r"$\varepsilon$")
    axes.set_ylabel(rf"${_bar(metric)}(\varepsilon) / {_bar(metric)}(\varepsilon_0)$")
    power = {1: "", 2: "^2"}[response.POWER[metric]]
    inside = r"\varepsilon/\varepsilon_0" if not power else r"(\varepsilon/\varepsilon_0)"
    axes.text(
        0.96, 0.2, rf"-- ${inside}{power}$", transform=axes.transAxes, ha="right", color="0.3"
    )


def deviation_inset(axes: Axes, dataset: xr.Dataset, metric: str, epsilon0: float) -> None:
    """Relative deviation from the scaling function, averaged over dj (insets of Fig. 5a-c).

    Args:
        axes: of the panel that gets the inset.
        dataset: results of one model.
        metric: `delta` or `phi`.
        epsilon0: reference strength, one of those measured.
    """
    deviation = response.relative_deviation(dataset, metric, epsilon0)
    inset = axes.inset_axes((0.25, 0.66, 0.42, 0.32))
    inset.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
    inset.errorbar(
        dataset.epsilon.values, deviation["mean"].values, yerr=deviation["spread"].values,
        fmt="o-", markersize=2,
        linewidth=0.8, elinewidth=0.6, color=ACCENT,
    )  # fmt: skip
    inset.axvline(epsilon0, color=GREY, linewidth=0.6)
    if "linear" in dataset:
        at = {"metric": metric, "position": response.last(dataset)}
        ratio = response.linear_ratio(dataset.response.sel(at), dataset.linear.sel(at), metric)
        inset.axhline(_weak_limit(ratio, epsilon0), color=CATEGORIES[0], linewidth=0.8)
    inset.set_xscale("log")
    inset.set_ylim(-0.75, 0.75)
    inset.set_ylabel(r"$\delta$", fontsize=8, labelpad=0)
    inset.tick_params(labelsize=6, length=2, pad=1)


def layers_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Response at dj = T0 - 1 along l (Fig. 3a-c), delta and phi divided by chi; inset: not.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
    """
    epsilon0, t0 = float(dataset.attrs["epsilon0"]), int(dataset.attrs["t0"])
    at = {"metric": metric, "delta_j": t0 - 1}
    curves, errors = dataset.response.sel(at), dataset.response_sem.sel(at)
    scaled = response.POWER[metric] > 0
    chi = response.scaling_function(dataset, metric, epsilon0)["mean"]
    inset = axes.inset_axes((0.14, 0.6, 0.38, 0.36)) if scaled else None
    for epsilon, colour in epsilon_colours(dataset):
        one = {"epsilon": epsilon}
        factor = chi.sel(one) if scaled else 1.0
        curve, error = curves.sel(one) / factor, errors.sel(one) / factor
        _band(axes, curve, error, "position", colour, _named(epsilon))
        if inset is not None:
            inset.plot(
                dataset.position[1:], curves.sel(one)[1:], color=colour, linewidth=0.6,
                label=_named(epsilon),
            )  # fmt: skip
    if inset is not None:
        _log_scale(inset)
        inset.tick_params(labelsize=6, length=2, pad=1)
        inset.set_title(f"${_bar(metric)}$", fontsize=8, pad=2)
        axes.set_ylim(top=axes.get_ylim()[1] * 1.75)
    axes.set_xlabel(r"position $\ell$")
    quantity = f"{_bar(metric)} / {_chi(metric)}" if scaled else _bar(metric)
    axes.set_ylabel(rf"${quantity}$ at $\Delta j=T_0-1$")


def increments_panel(axes: Axes, dataset: xr.Dataset, metric: str) -> None:
    """Increments at dj = T0 - 1 by sublayer (Fig. 3d-f); inset: their sums over sublayers.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
    """
    epsilon0, t0 = float(dataset.attrs["epsilon0"]), int(dataset.attrs["t0"])
    at = {"metric": metric, "delta_j": t0 - 1}
    curve = response.at_epsilon(dataset.response.sel(at), epsilon0)
    steps = response.increments(curve, metric)
    total = 1.0 if _is_cosine(metric) else float(curve[-1] - curve[0])
    error = response.increments_error(dataset, metric, epsilon0) / total
    colours = [SUBLAYERS[str(sublayer)][0] for sublayer in steps.sublayer.values]
    axes.bar(steps.position, steps, color=colours, width=0.9)
    axes.errorbar(steps.position, steps, yerr=error, fmt="none", ecolor="0.3", elinewidth=0.5)
    axes.axhline(0, color="0.3", linewidth=0.6)
    totals = response.sublayer_totals(steps)
    inset = axes.inset_axes((0.42, 0.66, 0.26, 0.32))
    looks = [SUBLAYERS[str(name)] for name in totals.sublayer.values]
    inset.bar(range(len(looks)), totals.values, color=[colour for colour, _ in looks])
    inset.set_xticks(range(len(looks)), [label for _, label in looks])
    inset.axhline(0, color="0.3", linewidth=0.6)
    inset.set_title(r"$\Sigma$", fontsize=8, pad=2)
    inset.tick_params(labelsize=6, length=2, pad=1)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.55 * (high - low))
    axes.set_xlabel(r"position $\ell$")
    axes.set_ylabel(
        rf"$\Delta {_c(metric)}^{{(\ell)}}$" + ("" if _is_cosine(metric) else " (sum 1)")
    )


def layer_map_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon: float) -> AxesImage:
    """Response against dj and l within T0 - 5 .. T0 + 5 (Fig. 4a-c, 5d-f).

    delta and phi: every row (fixed l) is divided by its maximum within the window. Grey: nothing
    responds.

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
        epsilon: strength, one of those measured.

    Returns:
        The image, for a colour bar.
    """
    t0 = int(dataset.attrs["t0"])
    near = response.window(t0)
    inside = response.at_epsilon(dataset.response.sel(delta_j=near), epsilon)
    image = inside.sel(metric=metric).where(inside.sel(metric="delta") > 0)
    image = image.transpose("position", "delta_j")
    if _is_cosine(metric):
        # The cosines of the first sublayers, where hardly anything responds, would set the scale.
        reach = float(np.nanquantile(np.abs(image), 0.97))
        norm = Normalize(-reach, reach)
    else:
        # At l = 0 only the perturbed token responds: there is no maximum to divide by.
        maximum = image.max("delta_j")
        image = image / maximum.where(maximum > 0)
        norm = Normalize(0, 1)
    edge = image.delta_j.values
    drawn = axes.imshow(
        image, norm=norm, cmap=colormap(metric).with_extremes(bad=EMPTY),
        aspect="auto", origin="lower",
        extent=(edge[0] - 0.5, edge[-1] + 0.5, -0.5, len(image) - 0.5),
    )  # fmt: skip
    axes.set_xticks([t0 - 5, t0 - 1, t0 + 5] if t0 > 5 else [t0 - 1, t0])
    axes.axvline(t0 - 1, color="white", linestyle="--", linewidth=0.7, alpha=0.7)
    axes.set_xlabel(r"$\Delta j$")
    axes.set_ylabel(r"position $\ell$")
    return drawn


def distances_panel(axes: Axes, dataset: xr.Dataset, metric: str, epsilon: float) -> None:
    """Response along l at dj = T0 - 2 .. T0 + 1 (Fig. 4d-f).

    Args:
        axes: to draw on.
        dataset: results of one model.
        metric: name of the metric.
        epsilon: strength, one of those measured.
    """
    t0 = int(dataset.attrs["t0"])
    for offset, colour in zip((-1, 0, -2, 1), CATEGORIES, strict=False):
        at = {"metric": metric, "delta_j": t0 + offset}
        curve = response.at_epsilon(dataset.response.sel(at), epsilon)
        error = response.at_epsilon(dataset.response_sem.sel(at), epsilon)
        label = "$T_0$" if offset == 0 else f"$T_0 {offset:+d}$"
        first = 0 if _is_cosine(metric) else 1
        _band(axes, curve[first:], error[first:], "position", colour, label)
    if not _is_cosine(metric):
        _log_scale(axes)
    axes.set_xlabel(r"position $\ell$")
    axes.set_ylabel(f"${_bar(metric)}$")


def _sequence_strip(axes: Axes, dataset: xr.Dataset, source: int) -> None:
    """The repeated sequence: a cell a token, the same colour for the same token."""
    t0 = int(dataset.attrs["t0"])
    colours = mpl.colormaps["cividis"](np.linspace(0.15, 0.95, t0))
    shuffled = np.argsort(np.argsort(dataset.tokens[0, :t0].values))
    for j in range(2 * t0):
        axes.add_patch(Rectangle((j, 0), 1, 1, color=colours[shuffled[j % t0]], linewidth=0))
    labels = {
        source: (ACCENT, "perturbed token $i$"),
        source + t0 - 1: (CATEGORIES[0], "$j=i+T_0-1$"),
        source + t0: (GREY, ""),
    }
    for j, (colour, label) in labels.items():
        axes.add_patch(Rectangle((j, -0.08), 1, 1.16, fill=False, edgecolor=colour, linewidth=1.8))
        if label:
            axes.annotate(
                label, (j + 0.5, 1.1), (j + 0.5, 1.75), ha="right" if "T_0" in label else "center",
                color=colour, arrowprops={"arrowstyle": "->", "color": colour},
            )  # fmt: skip
    axes.annotate(
        "$j=i+T_0$ (same token)", (source + t0 + 0.8, 1.1), (source + t0 + 3, 1.75),
        color=GREY, arrowprops={"arrowstyle": "->", "color": GREY},
    )  # fmt: skip
    for block in (0, 1):
        axes.annotate(
            "",
            (block * t0, -0.35),
            (block * t0 + t0, -0.35),
            arrowprops={"arrowstyle": "<->", "color": GREY},
        )
        text = f"random block, $T_0={t0}$ tokens" if block == 0 else "the same block again"
        axes.text(block * t0 + t0 / 2, -0.85, text, ha="center", va="center", color=GREY)
    axes.set_xlim(-0.5, 2 * t0 + 0.5)
    axes.set_ylim(-1.2, 2.4)
    axes.axis("off")


def _residual_stream_sketch(axes: Axes) -> None:
    """Lanes of the residual stream: the perturbation enters at i and reaches every later token."""
    lanes = {"$i-1$": 0.0, "$i$": 1.0, "$i+1$": 2.0, r"$\cdots$": 3.0, "$j$": 4.0}
    for name, y in lanes.items():
        later = y >= 1
        colour = ACCENT if y == 1 else (CATEGORIES[4] if later else GREY)
        axes.add_patch(
            FancyArrowPatch((1.25, y), (9.2, y), arrowstyle="-|>", mutation_scale=9, color=colour,
                            linewidth=2.2 if y == 1 else 1.2)
        )  # fmt: skip
        axes.text(
            -0.9, y, f"token {name}", ha="left", va="center", color=ACCENT if y == 1 else "0.25"
        )
    for x, label, colour in (
        (3.2, "MHA", ATTENTION),
        (4.6, "MLP", MLP),
        (6.6, "MHA", ATTENTION),
        (8.0, "MLP", MLP),
    ):
        axes.add_patch(
            Rectangle((x - 0.33, -0.35), 0.66, 4.7, color=colour, alpha=0.85, linewidth=0, zorder=3)
        )
        axes.text(x, 2, label, rotation=90, ha="center", va="center", color="white", zorder=4)
    axes.text(5.6, 2.5, r"$\cdots$", ha="center", va="center", color=GREY, fontsize=12)
    axes.plot(1.65, 1, "o", color=ACCENT, markersize=7, zorder=5)
    axes.text(1.75, 1.42, r"$(1-\varepsilon)\,x_i^{(0)}$", color=ACCENT, ha="center", va="center",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5}, zorder=5)  # fmt: skip
    axes.text(9.35, 4, r"$x_j'^{(\ell)} = x_j^{(\ell)} + D_j^{(\ell)}$", va="center", color="0.25")
    axes.text(9.35, 0, "unchanged (causal)", va="center", color=GREY)
    axes.text(9.35, 1, r"$x_i'^{(\ell)}$", va="center", color=ACCENT)
    axes.text(
        5.6,
        -0.95,
        r"position $\ell = 0,\ 1,\ 2,\ \ldots,\ 2L$",
        ha="center",
        va="center",
        color=GREY,
    )
    axes.set_xlim(-1, 12.2)
    axes.set_ylim(-1.3, 5)
    axes.axis("off")


def _metric_sketch(axes: Axes) -> None:
    """The three metrics as lengths and angles of x_j, x'_j, D_j and D_i."""
    origin, clean, perturbed = np.array([0.0, 0.0]), np.array([2.1, 0.25]), np.array([1.75, 1.25])
    arrows = (
        (origin, clean, "0.2"),
        (origin, perturbed, CATEGORIES[4]),
        (clean, perturbed, CATEGORIES[0]),
    )
    other = clean + np.array([0.55, 1.15])
    for start, end, colour in (*arrows, (clean, other, ACCENT)):
        axes.add_patch(
            FancyArrowPatch(
                tuple(start), tuple(end), arrowstyle="-|>", mutation_scale=10, color=colour,
                shrinkA=0, shrinkB=0, linewidth=1.5,
            )
        )  # fmt: skip
    angles = np.linspace(np.arctan2(clean[1], clean[0]), np.arctan2(perturbed[1], perturbed[0]), 30)
    axes.plot(0.75 * np.cos(angles), 0.75 * np.sin(angles), color="0.2", linewidth=0.9)
    axes.text(0.86, 0.32, r"$\varphi$", ha="left", va="center")
    between = np.linspace(np.arctan2(1.15, 0.55), np.arctan2(1.0, -0.35), 30)
    axes.plot(
        clean[0] + 0.45 * np.cos(between),
        clean[1] + 0.45 * np.sin(between),
        color="0.2",
        linewidth=0.9,
    )
    axes.text(clean[0] + 0.04, clean[1] + 0.62, r"$\vartheta$", ha="center", va="center")
    axes.text(1.15, -0.08, "$x_j$", ha="center")
    axes.text(0.7, 0.86, "$x_j'$", color="#A66F00", ha="center")
    axes.text(1.6, 0.72, "$D_j$", color=CATEGORIES[0], ha="center")
    axes.text(2.75, 0.75, "$D_i$", color=ACCENT, ha="center")
    lines = (
        r"$C_\Delta = |D_j|/|x_j|$",
        r"$C_\varphi = 1-\cos\varphi$",
        r"$C_\vartheta = \cos\vartheta$",
    )
    for row, text in enumerate(lines):
        axes.text(0, 2.45 - 0.36 * row, text, ha="left", va="center")
    axes.set_xlim(-0.15, 3.1)
    axes.set_ylim(-0.3, 2.7)
    axes.axis("off")


def _slot(top: Axes, bottom: Axes, name: str) -> None:
    """Say that a model has not been measured, and how to measure it."""
    for axes in (top, bottom):
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_linestyle((0, (4, 4)))
            spine.set_color(GREY)
    top.set_title(models.title(name))
    top.text(
        0.5, 0.5, f"slot for\n{models.title(name)}\n\nnot measured yet", transform=top.transAxes,
        ha="center", va="center", color=GREY,
    )  # fmt: skip
    bottom.text(
        0.5, 0.5, f"to measure it:\n\nmake figures\nMODEL={name}", transform=bottom.transAxes,
        ha="center", va="center", color=GREY, family="monospace", fontsize=8,
    )  # fmt: skip


def _band(
    axes: Axes, curve: xr.DataArray, error: xr.DataArray, dim: str, colour: object, label: str = ""
) -> None:
    """A curve with its standard error as a band."""
    x = curve[dim].values
    axes.plot(x, curve.values, color=colour, label=label, linewidth=1)
    low, high = (curve - error).values, (curve + error).values
    axes.fill_between(
        x,
        low,
        high,
        color=colour,
        alpha=0.25,
        linewidth=0,
    )


def _log_scale(axes: Axes) -> None:
    """Logarithmic y axis, labelled at full decades only where there are at least two of them."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    if np.floor(np.log10(high)) - np.ceil(np.log10(low)) >= 1:
        axes.yaxis.set_minor_formatter(NullFormatter())


def _epsilon_norm(dataset: xr.Dataset) -> LogNorm:
    epsilon = dataset.epsilon.values
    return LogNorm(epsilon.min() / 1.5, epsilon.max() * 2.5)


def epsilon_colours(dataset: xr.Dataset) -> list[tuple[float, tuple[float, float, float, float]]]:
    """Every measured strength with its colour (red, green, blue, opacity), weak ones dark."""
    norm, colormap = _epsilon_norm(dataset), mpl.colormaps["viridis"]
    return [(float(epsilon), colormap(norm(epsilon))) for epsilon in dataset.epsilon.values]


def _epsilon_colorbar(figure: Figure, axes: np.ndarray, dataset: xr.Dataset) -> None:
    norm, colormap = _epsilon_norm(dataset), mpl.colormaps["viridis"]
    bar = figure.colorbar(
        mpl.cm.ScalarMappable(norm, colormap), ax=axes, location="bottom", shrink=0.45, aspect=35,
        label=r"$\varepsilon$ (white lines: measured)",
    )  # fmt: skip
    bar.ax.vlines(dataset.epsilon.values, 0, 1, color="white", linewidth=0.8)


def _named(epsilon: float) -> str:
    """Label of a curve that the legend leaves out."""
    return f"_epsilon = {epsilon:g}"


def _ends(dataset: xr.Dataset) -> tuple[float, float]:
    return float(dataset.epsilon.min()), float(dataset.epsilon.max())


def _weak_limit(ratio: xr.DataArray, epsilon0: float) -> float:
    """delta(epsilon) for epsilon -> 0, by `response.linear_ratio` at epsilon0; mean over dj."""
    return float((1 / response.at_epsilon(ratio, epsilon0)).mean("delta_j")) - 1


def _rms(values: xr.DataArray) -> xr.DataArray:
    """Root mean square over dj."""
    return (values**2).mean("delta_j") ** 0.5


def _present(dataset: xr.Dataset) -> list[tuple[str, str]]:
    names = dict.fromkeys(map(str, dataset.sublayer.values[1:]))
    return [SUBLAYERS[name] for name in names]


def colormap(metric: str) -> mpl.colors.Colormap:
    """The colours of maps of a metric: two-sided for cosines."""
    return mpl.colormaps["RdBu_r" if _is_cosine(metric) else "viridis"].with_extremes(bad="white")


def _is_cosine(metric: str) -> bool:
    return response.POWER[metric] == 0


def _c(metric: str) -> str:
    return rf"C_{{{SYMBOL[metric]}}}"


def _bar(metric: str) -> str:
    return rf"\overline{{C}}_{{{SYMBOL[metric]}}}"


def _chi(metric: str) -> str:
    return rf"\chi_{{{SYMBOL[metric]}}}"


def _tag(axes: Axes, letter: str) -> None:
    axes.set_title(f"({letter})", loc="left", fontweight="bold")


def _tag_all(grid: np.ndarray) -> None:
    for axes, letter in zip(grid.ravel(), "abcdefghijkl", strict=False):
        _tag(axes, letter)


LABEL_LENGTH = 12  # characters of a token shown on an axis
LABEL_POINTS = 5.0  # smallest distance of two labels that can be read


def prompt_matrix(
    dataset: xr.Dataset, metric: str = "delta", sequence: int | None = None
) -> Figure:
    """Response matrix C(i, j) at l = 2L and epsilon0 with the tokens on both axes.

    Long tokens are cut, characters the font lacks are shown as boxes, and from about 130 tokens on
    only every k-th is named.

    Args:
        dataset: results of a prompt. Where they hold no `token_label`, token ids are shown.
        metric: which matrix.
        sequence: whose tokens are shown where the matrix is a mean over several sequences; if None
            their places in the sequence are shown instead.

    Raises:
        ValueError: no such sequence.
    """
    n, t = dataset.sizes["sequence"], dataset.sizes["token"]
    if sequence is not None and not 0 <= sequence < n:
        raise ValueError(f"sequence={sequence}: not measured; use 0 <= sequence < {n}")
    shown = 0 if n == 1 else sequence
    matrix = dataset.matrix.sel(metric=metric).values
    causal = np.ma.masked_array(matrix, np.tri(t, k=-1, dtype=bool))
    if _is_cosine(metric):
        norm: Normalize = Normalize(-1, 1)
    else:
        norm = LogNorm(*np.percentile(causal.compressed()[causal.compressed() > 0], (2, 99.8)))
    side = min(max(3.0, 0.1 * t), 10.0)
    pitch = 72 * side / t
    every = int(np.ceil(LABEL_POINTS / pitch))
    places = np.arange(0, t, every)
    if shown is None:
        names = [str(place) for place in places]
    else:
        texts = dataset["token_label" if "token_label" in dataset else "tokens"][shown].values
        names = [_clipped(str(text)) for text in texts[places]]
    look: dict[str, Any] = {
        "family": "monospace",
        "fontsize": min(0.85 * every * pitch, 8),
        "parse_math": False,
    }
    with style():
        figure, axes = plt.subplots(figsize=(side + 1.9, side + 0.9), layout="constrained")
        image = axes.imshow(causal, norm=norm, cmap=colormap(metric), origin="upper")
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xticks(places, names, rotation=90, **look)
        axes.set_yticks(places, names, **look)
        axes.tick_params(length=1.5, pad=1)
        axes.spines[["left", "bottom"]].set_visible(False)
        mean = f"; mean over {n} sequences" if n > 1 else ""
        axes.set_xlabel("observed token (target $j$)")
        axes.set_ylabel(f"perturbed token (source $i$){mean}")
        figure.colorbar(
            image, ax=axes, shrink=0.8, extend="neither" if _is_cosine(metric) else "both",
            label=rf"${_c(metric)}(i,j)$ at $\varepsilon={dataset.attrs['epsilon0']:g}$",
        )  # fmt: skip
    return figure


def _clipped(token: str) -> str:
    """A token short enough for an axis, in characters that can be drawn there."""
    drawn = "".join(character if _drawable(character) else "□" for character in token)
    return drawn if len(drawn) <= LABEL_LENGTH else drawn[: LABEL_LENGTH - 1] + "…"


def _drawable(character: str) -> bool:
    """Whether any installed font of the monospace family has the character."""
    for family in mpl.rcParams["font.monospace"]:
        try:
            path = mpl.font_manager.findfont(family, fallback_to_default=False)
        except ValueError:
            continue
        if mpl.font_manager.get_font(path).get_char_index(ord(character)):
            return True
    return False
