"""Run notebooks by papermill, refusing what it only warns about; make those for students."""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from tqdm import tqdm
from traitlets.config import Config

# Notebooks that run at the same time; each is a process with a few hundred MB.
AT_A_TIME = min(4, os.cpu_count() or 1)

# Kernels warn of messages that are not encrypted.
KERNEL = Config({"KernelManager": {"transport_encryption": "auto"}})


def parameters_of(notebook: Path) -> dict[str, str]:
    """Names of a notebook's parameters with the comment beside each.

    Raises:
        ValueError: no cell is tagged `parameters`.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    if not any("parameters" in cell.metadata.get("tags", []) for cell in cells):
        raise ValueError(f"notebook={notebook}: no cell is tagged `parameters`; tag one")
    return {name: found["help"] for name, found in papermill.inspect_notebook(notebook).items()}


def run_notebook(notebook: Path, output: Path, parameters: Mapping[str, object]) -> Path:
    """Execute a notebook with new parameters, in its own folder.

    Args:
        notebook: a notebook with a cell tagged `parameters`.
        output: where the executed notebook goes; nothing is left there if it fails.
        parameters: new values by name.

    Raises:
        ValueError: a parameter the notebook does not have, or no parameters cell.
    """
    known = parameters_of(notebook)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise ValueError(
            f"parameter={unknown[0]}: {notebook.name} has no such parameter; choose from "
            f"{', '.join(known)}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".running-") as folder:
        partial = Path(folder) / output.name
        try:
            papermill.execute_notebook(
                notebook,
                partial,
                dict(parameters),
                progress_bar=False,
                request_save_on_cell_execute=False,
                # The kernel's folder. Papermill's `cwd` would move this process, and with it
                # the notebooks that run at the same time.
                resources={"metadata": {"path": str(notebook.parent)}},
                config=KERNEL,
                # Asked politely, a kernel that is not yet idle reports that it was interrupted.
                shutdown_kernel="immediate",
            )
        except DeadKernelError as error:
            raise ValueError(
                f"notebook={notebook.name}: its kernel died ({error}), perhaps for want of memory; "
                "run the command again"
            ) from error
        except papermill.PapermillExecutionError as error:
            raise ValueError(f"notebook={notebook.name}: {error.ename}: {error.evalue}") from error
        os.replace(partial, output)
    return output


def run_notebooks(
    parameters: Mapping[Path, Mapping[str, object]], folder: Path, progress: bool = False
) -> None:
    """Execute notebooks as `run_notebook` does, `AT_A_TIME` at the same time.

    After an error or Ctrl-C those under way are finished, and no other begins.

    Args:
        parameters: new values by name, for each notebook.
        folder: where the executed notebooks go, under their own names.
        progress: show a progress bar.

    Raises:
        ValueError: as for `run_notebook`.
    """
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        running = [
            pool.submit(run_notebook, notebook, folder / notebook.name, values)
            for notebook, values in parameters.items()
        ]
        finished = as_completed(running)
        try:
            for one in tqdm(finished, "notebooks", len(running), disable=not progress):
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


# What Jupyter Book reads and Jupyter shows as it is: a role with a text of its own; the first line
# and the options of a directive; a line that ends one.
_ROLE = re.compile(r"\{[a-z]+\}`([^`<]+?) *<[^`>]*>`")
_DIRECTIVE = re.compile(r"^:{3,}\{([a-z]+)\} *(.*)\n(?::[a-z-]+:.*\n)*", re.MULTILINE)
_FENCE = re.compile(r"^:{3,}$\n?", re.MULTILINE)


def student_notebook(notebook: Path) -> nbformat.NotebookNode:
    """A course notebook as students get it: no solutions, no outputs, plain Markdown.

    Args:
        notebook: one in which all cells of a solution are tagged `solution`.

    Raises:
        ValueError: no cell is tagged `solution`.
    """
    source = nbformat.read(notebook, as_version=4)
    kept = [cell for cell in source.cells if "solution" not in cell.metadata.get("tags", [])]
    if len(kept) == len(source.cells):
        raise ValueError(f"notebook={notebook}: no cell is tagged `solution`; tag them")
    for cell in kept:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "tags"}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = _plain_markdown(cell.source)
    made = nbformat.v4.new_notebook(cells=kept, metadata=source.metadata)
    made.nbformat_minor = source.nbformat_minor
    return made


def write_student_notebooks(sources: Iterable[Path], folder: Path) -> list[Path]:
    """Write `student-NAME.ipynb` for every course notebook.

    Returns:
        The paths written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for source in sources:
        path = folder / f"student-{source.name}"
        nbformat.write(student_notebook(source), path)
        paths.append(path)
    return paths


def _plain_markdown(text: str) -> str:
    text = _DIRECTIVE.sub(lambda found: f"**{found[1].capitalize()}: {found[2]}**\n", text)
    return _ROLE.sub(r"\1", _FENCE.sub("", text)).strip()
