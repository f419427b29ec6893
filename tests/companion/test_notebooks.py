"""Notebooks: in the book, parameterised, without functions, executed; papermill changes them."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from stored_notebooks import code_cells, printed, read
from tiny_models import tiny_hf_model
from universal_response import Settings, load_results, results_for
from universal_response.cli import making
from universal_response.companion.notebooks import parameters_of, run_notebook, run_notebooks

ROOT = Path(__file__).parents[2]
COURSE = sorted((ROOT / "notebooks" / "course").glob("*.ipynb"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PROSE = sorted((ROOT / "book").glob("*.md"))


@pytest.fixture(params=NOTEBOOKS + COURSE, ids=lambda path: path.stem)
def notebook(request):
    return request.param


def test_every_page_is_in_the_table_of_contents_and_the_other_way_round():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [page for part in toc["parts"] for page in part["chapters"]]
    # Below a chapter the theme puts a switch without a name for those who do not see it.
    assert not any("sections" in page for page in pages)
    listed = {toc["root"]} | {page["file"] for page in pages}
    on_disk = {str(path.relative_to(ROOT).with_suffix("")) for path in NOTEBOOKS + COURSE + PROSE}
    assert listed == on_disk


def test_lock_holds_exact_versions_only():
    lines = (ROOT / "requirements.lock").read_text().split()
    assert all(line.count("==") == 1 and "/" not in line for line in lines)


def test_no_functions_are_defined(notebook):
    """Except by students, and by those who show them how."""
    for cell in code_cells(notebook):
        if notebook in COURSE and {"exercise", "solution"} & set(cell.metadata.get("tags", [])):
            continue
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not any(isinstance(node, kinds) for node in ast.walk(ast.parse(cell.source)))


def test_every_parameter_has_a_comment(notebook):
    found = parameters_of(notebook)
    assert found
    assert all(found.values())


def test_defaults_are_written_in_the_library_alone():
    """In the notebooks that `universal-response figures` runs."""
    names = {"t0", "batch", "epsilons", "epsilon0", "seed", "device", "dtype"}
    shown = [papermill.inspect_notebook(path) for path in NOTEBOOKS]
    shown = [found for found in shown if {"t0", "dtype"} <= found.keys()]
    assert len(shown) == 10
    for found in shown:
        defaults = {name: found[name]["default"] for name in names}
        assert defaults == {name: f"ur.DEFAULT.{name}" for name in names}
    references = [found["reference"]["default"] for found in shown if "reference" in found]
    assert references == ["ur.claims.FIGURE_EPSILON0"] * 2


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_passes_on_what_is_set_and_nothing_else():
    settings = ["T0=16", "EPSILONS=0.01, 0.05", "SEED=0"]
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "figures", *settings],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    command = done.stdout.partition("universal-response figures")[2].replace("\\\n", " ")
    options = shlex.split(command)
    assert options == [
        "--out", "runs/figures", "--t0", "16", "--epsilons", "0.01, 0.05", "--seed", "0",
    ]  # fmt: skip


def test_outputs_are_stored_and_without_errors(notebook):
    assert any(cell.outputs for cell in code_cells(notebook))
    for cell in code_cells(notebook):
        assert cell.execution_count is not None
        assert not any(output.output_type == "error" for output in cell.outputs)
        assert not any(output.get("name") == "stderr" for output in cell.outputs)


def test_nothing_is_stored_that_differs_from_run_to_run(notebook):
    """`make execute` leaves it out."""
    assert read(notebook).metadata.language_info == {"name": "python"}
    assert not any("execution" in cell.metadata for cell in read(notebook).cells)


def test_math_has_no_doubled_backslash(notebook):
    for cell in read(notebook).cells:
        assert cell.cell_type != "markdown" or not re.search(r"\\\\[a-zA-Z]", cell.source)


def test_figures_have_alt_text_caption_and_name(notebook):
    drawn = [cell for cell in code_cells(notebook) if "plt.show()" in cell.source]
    none = {"table1", "claims", "head_claims", "training_claims", "costs", "provenance"}
    none |= {"adder_claims"}
    two = {"fig4", "benchmarks", "session2", "session4"}
    two |= {"heads", "wiring", "causes", "carried", "circuit"}
    three = {"prompt", "session5", "adder", "adder_inside"}
    more = (notebook.stem in two) + 2 * (notebook.stem in three)
    assert len(drawn) == 1 - (notebook.stem in none) + more
    for cell in drawn:
        assert any("image/png" in output.get("data", {}) for output in cell.outputs)
        look = cell.metadata["mystnb"]
        assert len(look["image"]["alt"]) > 50
        if notebook.stem == "intro":
            continue  # without a number, so that Fig. 1 is the paper's
        assert look["figure"]["caption"]
        assert look["figure"]["name"]


def test_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(ValueError, match="parameter=epsilonn"):
        run_notebook(NOTEBOOKS[0], tmp_path / "out.ipynb", {"epsilonn": 0.1})
    assert list(tmp_path.iterdir()) == []


def test_notebook_without_parameters_cell_is_refused(tmp_path):
    path = tmp_path / "plain.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("t0 = 1")]), path)
    with pytest.raises(ValueError, match="tagged `parameters`"):
        run_notebook(path, tmp_path / "out.ipynb", {"t0": 2})


def test_failing_notebook_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="t0=1: "):
        run_notebook(ROOT / "notebooks" / "fig1.ipynb", tmp_path / "out.ipynb", {"t0": 1})
    assert list(tmp_path.iterdir()) == []


def test_notebooks_that_run_together_keep_apart_and_say_nothing(tmp_path, capfd):
    """Each has the folder of its source; no kernel warns or complains of its end."""
    names = ["one", "two", "three"]
    sources = {}
    for name in names:
        first = nbformat.v4.new_code_cell('word = ""  # to say', metadata={"tags": ["parameters"]})
        second = nbformat.v4.new_code_cell("from pathlib import Path\nprint(Path.cwd().name, word)")
        path = tmp_path / name / f"{name}.ipynb"
        path.parent.mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=[first, second], metadata=PYTHON), path)
        sources[path] = {"word": name}
    run_notebooks(sources, tmp_path / "out")
    said = {path.stem: printed(path) for path in (tmp_path / "out").iterdir()}
    assert said == {name: [f"{name} {name}"] for name in names}
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    """A tiny model as a user's folder of safetensors."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_hf_model("llama").save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_parameters_change_a_figure_and_repeating_them_does_not(tiny_folder, tmp_path):
    """What is measured here first a notebook finds, if none of its parameters got lost."""
    fig4 = ROOT / "notebooks" / "fig4.ipynb"
    base = {"t0": 6, "batch": 2, "seed": 0, "epsilons": (0.01, 0.05), "epsilon0": 0.05}
    new = {"t0": 7, "batch": 3, "seed": 1, "epsilons": (0.02, 0.1), "epsilon0": 0.1}
    told = {}
    for name, asked in {"same": base, "again": base, "other": new}.items():
        folder = tmp_path / name
        if name != "same":
            results_for(str(tiny_folder), Settings(**asked), folder)
        elsewhere = {"model": str(tiny_folder), "results": "nowhere"}
        values = asked | {"epsilons": list(asked["epsilons"])} | elsewhere
        values |= {"runs": str(folder), "output": str(folder)}
        told[name] = printed(run_notebook(fig4, folder / "fig4.ipynb", values))
        assert (folder / "fig4.svg").stat().st_size > 10_000
        assert len(list(folder.glob("*.nc"))) == 1
    assert told["same"] == told["again"]
    first, second = (
        load_results(next((tmp_path / name).glob("*.nc"))) for name in ("same", "again")
    )
    assert first.response.identical(second.response)
    pictures = {name: (tmp_path / name / "fig4.png").read_bytes() for name in told}
    assert pictures["same"] == pictures["again"]
    assert pictures["same"] != pictures["other"]


@pytest.mark.slow
@pytest.mark.weights
def test_all_figures_from_a_fresh_measurement_of_a_real_model(tmp_path):
    making.figures(
        out=tmp_path, model="smollm2-135m", t0=8, batch=2, epsilons="0.01 0.03 0.05", epsilon0=0.05,
        seed=3, device="cpu", dtype="float32", parameter=["source=2"],
    )  # fmt: skip
    (data,) = tmp_path.glob("*.nc")
    assert load_results(data).attrs["seed"] == 3
    drawn = {path.stem for path in tmp_path.glob("*.ipynb")}
    assert drawn == {f"fig{number}" for number in range(1, 6)} | {
        "table1",
        "claims",
        "tails",
        "attention",
        "universality",
    }
    for notebook in NOTEBOOKS:
        if notebook.stem.startswith("fig"):
            for suffix in ("png", "svg"):
                assert (tmp_path / f"{notebook.stem}.{suffix}").stat().st_size > 10_000
    assert "SmolLM2-135M" in (tmp_path / "table1.csv").read_text()
    assert json.loads((tmp_path / "fig5.ipynb").read_text())["nbformat"] == 4
