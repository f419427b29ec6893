"""Execute notebooks in place and store their outputs, without what differs from run to run.

.venv/bin/python tests/execute.py notebooks/fig4.ipynb
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from universal_response.companion.notebooks import KERNEL

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    # What is printed in several pieces is one output.
    NotebookClient(
        notebook,
        timeout=None,
        record_timing=False,
        coalesce_streams=True,
        resources=place,
        config=KERNEL,
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name))
