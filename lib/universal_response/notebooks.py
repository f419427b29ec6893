"""Run the figure notebooks by papermill, refusing what papermill only warns about."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
import papermill


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
                notebook, partial, dict(parameters), cwd=notebook.parent, progress_bar=False
            )
        except papermill.PapermillExecutionError as error:
            raise ValueError(f"notebook={notebook.name}: {error.ename}: {error.evalue}") from error
        os.replace(partial, output)
    return output
