"""Controls: where the signature of induction is, and where it is not."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from universal_response.controls import CONTROLS, FACTOR, OPEN, PRESENT, Control, Signature
from universal_response.figures.style import CATEGORIES, GREY, style

Found = Mapping[tuple[str, str], Signature]


def controls(found: Found, verdicts: Mapping[tuple[str, str], str]) -> Figure:
    """Of every control and model the ratio with its interval; hollow where it is not resolved.

    Args:
        found: of `controls.signature`, by control and title of the model.
        verdicts: of `controls.verdicts`.
    """
    shown = [each for each in CONTROLS if any(name == each.name for name, _ in found)]
    with style():
        figure, axes = plt.subplots(figsize=(7.2, 0.32 * len(shown) + 1.2), layout="constrained")
        signature_panel(axes, shown, found, verdicts)
    return figure


def signature_panel(
    axes: Axes,
    shown: list[Control],
    found: Found,
    verdicts: Mapping[tuple[str, str], str],
) -> None:
    """A row a control, a colour a model; grey ground where the signature must be absent."""
    titles = list(dict.fromkeys(title for _, title in found))
    apart = np.linspace(-0.22, 0.22, len(titles)) if len(titles) > 1 else np.zeros(1)
    for row, control in enumerate(shown):
        if control.expected != PRESENT:
            axes.axhspan(row - 0.5, row + 0.5, color="0.93", zorder=0)
        for place, (title, colour) in enumerate(zip(titles, CATEGORIES, strict=False)):
            one = found.get((control.name, title))
            if one is not None:
                y = row + apart[place]
                resolved = verdicts[control.name, title] != OPEN
                axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1)
                axes.plot(
                    one.ratio, y, "o", color=colour, markersize=4,
                    markerfacecolor=colour if resolved else "white",
                    label=title if row == 0 else f"_{title}",
                )  # fmt: skip
    axes.axvline(FACTOR, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(shown)), [each.words for each in shown])
    axes.set(xscale="log", ylim=(len(shown) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, place: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(r"$C_\Delta$ where induction has its peak / of its neighbours, $\ell = 2L$")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncol=len(titles))
