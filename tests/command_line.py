"""Run the command line in this process."""

import sys

import pytest
from universal_response import cli


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of `universal-response` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["universal-response", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capsys.readouterr()
    return stopped.value.code, captured.out, captured.err
