"""What the tests of figures share."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(scope="module", autouse=True)
def no_window():
    before = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def panel(figure, letter):
    (found,) = [axes for axes in figure.axes if axes.get_title(loc="left") == f"({letter})"]
    return found


def draw_whole(figure, laid_out):
    """Every artist; to find places for them first takes four times as long."""
    if not laid_out:
        figure.set_layout_engine("none")
    figure.canvas.draw()
