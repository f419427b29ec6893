"""The command that makes a page of a prompt."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from universal_response import companion, measurement, models, sequences
from universal_response.cli.options import (
    DEFAULT,
    Bos,
    Device,
    Dtype,
    Model,
    check_output,
    settings_from,
)
from universal_response.measurement.settings import Settings


def show_prompt(
    out: Annotated[Path, typer.Option(help="HTML file to write; it holds all that it shows")],
    model: Model = "smollm2-135m",
    text: Annotated[str | None, typer.Option(help="the prompt itself")] = None,
    file: Annotated[Path | None, typer.Option(help="UTF-8 file that holds the prompt")] = None,
    epsilon0: Annotated[
        float, typer.Option(help="perturbation strength in (0, 1], shown beside the exact limit")
    ] = DEFAULT.epsilon0,
    bos: Bos = None,
    device: Device = DEFAULT.device,
    dtype: Dtype = DEFAULT.dtype,
) -> None:
    """Measure a prompt, and write one page that shows how its tokens respond to each other.

    The page needs no network and nothing beside it: it can be mailed.
    """
    check_output(out)
    if not out.parent.is_dir():
        raise ValueError(f"out={out}: there is no folder {out.parent}; make it, or choose another")
    prompt = _prompt(text, file)
    if not 0 < epsilon0 <= 1:
        raise ValueError(f"epsilon0={epsilon0:g}: is outside (0, 1]; use 0 < epsilon0 <= 1")
    settings_of = partial(
        settings_from, model, f"{epsilon0}", epsilon0=epsilon0, device=device, dtype=dtype
    )
    settings_of()  # what is wrong in any case is said before a tokenizer is loaded
    tokenizer = models.load_tokenizer(model)
    if tokenizer is None:
        raise ValueError(f"model={model}: has no tokenizer for a text; choose one that has")
    read = Settings.for_text(prompt, tokenizer, bos)
    settings = settings_of(tokens=read.tokens, t0=0, text_sha256=read.text_sha256)
    measurement.check_mapped(model, settings)
    dataset = measurement.measure(model, settings, progress=True)
    companion.prompt_page.write_page(dataset, prompt, out)
    size = f"{settings.t} tokens at {dataset.sizes['position']} positions"
    typer.echo(f"{out}: {model}, {size}, {dataset.attrs['wall_time_s']} s")


def _prompt(text: str | None, file: Path | None) -> str:
    """The one passage that is given, as it stands there or in a file."""
    if (text is None) == (file is None):
        raise ValueError("text, file: give one of the two")
    if text and os.path.isfile(text):
        raise ValueError(f"text={text}: is a file; give it with --file, or the text itself here")
    found = sequences.passages(sequences.read_text(file) if file else text or "")
    if not found:
        raise ValueError("text: empty; give at least one passage of two tokens")
    if len(found) > 1:
        raise ValueError(f"text: {len(found)} passages; a page shows one, leave blank lines out")
    return found[0]
