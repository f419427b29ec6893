"""Command line: measure, prompt, verify, heads, propagator, arithmetic, train, and more."""

import os
import sys
import warnings
from concurrent.futures import BrokenExecutor

import typer

from universal_response.cli import learning, making, measuring, prompting, studying

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Response of language models to weak single-token perturbations (arXiv 2411.07071).",
)
app.command("plan")(measuring.show_plan)
app.command("measure")(measuring.measure)
app.command("prompt")(prompting.show_prompt)
app.command("verify")(measuring.verify)
app.command("controls")(measuring.measure_controls)
app.command("heads")(studying.study_heads)
app.command("propagator")(studying.measure_propagator)
app.command("arithmetic")(studying.study_arithmetic)
train = typer.Typer(no_args_is_help=True, help="Train a model, and watch how induction is learned.")
train.command("letters")(learning.train_letters)
train.command("gpt2-induction")(learning.train_gpt2)
train.command("adder")(learning.train_adder)
app.add_typer(train, name="train")
app.command("figures")(making.figures)
app.command("student-notebooks")(making.student_notebooks)
app.command("models")(making.list_models)


def main() -> None:
    """Entry point: bad input gives one line on stderr and exit code 2, not a traceback.

    Set UNIVERSAL_RESPONSE_TRACEBACK=1 to see the traceback.
    """
    warnings.showwarning = _one_line
    try:
        code = app(standalone_mode=False)
    except (ValueError, OSError, RuntimeError, MemoryError, typer.TyperException) as error:
        # An operation without a rule (`NoRule`) is a NotImplementedError.
        told = isinstance(error, (NotImplementedError, BrokenExecutor)) or _out_of_memory(error)
        unexpected = isinstance(error, RuntimeError) and not told
        if unexpected or os.environ.get("UNIVERSAL_RESPONSE_TRACEBACK"):
            raise
        typer.echo(f"error: {_said(error)}", err=True)
        sys.exit(2)
    if code == 130:  # what typer makes of Ctrl-C
        said = "what was finished is kept, and the same command goes on from there"
        typer.echo(f"error: interrupted; {said}", err=True)
    sys.exit(code or 0)


def _said(error: Exception) -> str:
    if isinstance(error, typer.TyperException):
        return " ".join(error.format_message().split())
    if _out_of_memory(error):
        return "memory: the device has too little; use --sequences-per-chunk 1 or fewer epsilons"
    return str(error)


def _out_of_memory(error: Exception) -> bool:
    """PyTorch's errors are told by their names: it may not have been imported."""
    kind, said = type(error).__name__, str(error)
    return isinstance(error, MemoryError) or "OutOfMemoryError" in kind or "CPUAllocator" in said


def _one_line(message: Warning | str, *args: object, **kwargs: object) -> None:
    typer.echo(f"warning: {message}", err=True)
