"""What is imported where: the command line starts without PyTorch, figures need no model code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "results" / "random-t32-smollm2-135m.nc"
MODEL_CODE = {"torch", "transformers", "transformer_lens"}
DATA = {"xarray", "pandas", "matplotlib"}
DRAWN = [
    "claims",
    "fig1",
    "fig2",
    "fig3",
    "fig4",
    "fig5",
    "intro",
    "provenance",
    "table1",
    "universality",
]


def imported(code):
    """Which of the slow modules a fresh interpreter has imported after some code."""
    tell = "\nimport json, sys\nprint()\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + tell],
        cwd=ROOT / "notebooks",
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    assert "universal_response" in found
    return (MODEL_CODE | DATA | {"papermill"}).intersection(found)


def test_the_package_alone_imports_nothing_slow():
    assert imported("import universal_response") == set()


def test_the_defaults_and_the_command_line_import_nothing_slow():
    code = """
from universal_response import DEFAULT, Settings, cli
assert Settings(t0=8, batch=2) != DEFAULT
"""
    assert imported(code) == set()


def test_figures_and_claims_from_a_file_need_no_models():
    code = f"""
import numpy as np
import universal_response as ur
dataset = ur.load_results({str(SMALL)!r})
assert ur.figures.fig2(dataset).axes
assert ur.claims.evaluate_claims({{'a': dataset}}, np.random.default_rng(0))
"""
    assert imported(code) == DATA


def test_figures_are_saved_beside_nnsight():
    """It gives every object a method `save`, a module whose names are loaded late too."""
    pytest.importorskip("nnsight")
    code = """
import nnsight, inspect
import universal_response as ur
assert list(inspect.signature(ur.figures.save).parameters) == ["figure", "folder", "name"]
"""
    assert "matplotlib" in imported(code)


@pytest.mark.slow
def test_notebooks_that_draw_shipped_results_need_no_models():
    """The code of their cells, without saving and showing the figures."""
    lines = ["import sys"]
    for name in DRAWN:
        cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
        for cell in cells:
            if cell.cell_type == "code":
                tagged = "parameters" in cell.metadata.get("tags", [])
                lines += [cell.source, 'output = ""' if tagged else ""]
        lines.append(f"assert not {MODEL_CODE!r}.intersection(sys.modules), {name!r}")
    assert imported("\n".join(lines)) == DATA
