"""The notebooks of the project as they are stored, each read once."""

import functools

import nbformat


@functools.cache
def read(path):
    return nbformat.read(path, as_version=4)
