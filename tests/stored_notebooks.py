"""The notebooks of the project as they are stored, each read once."""

import functools

import nbformat


@functools.cache
def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def printed(path):
    """What a notebook printed, but for when and how long was measured."""
    outputs = [output for cell in code_cells(path) for output in cell.outputs]
    said = "".join(output.text for output in outputs if "text" in output)
    return [line for line in said.splitlines() if ": measured 20" not in line]
