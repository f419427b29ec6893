"""Commands that train: train."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from universal_response import models, training
from universal_response.cli.options import Device, check_writable
from universal_response.training.gpt2.curriculum import CURRICULUM
from universal_response.training.gpt2.settings import Gpt2Settings

_DEFAULT = Gpt2Settings()


def train(
    model: Annotated[str, typer.Argument(help="what is trained: gpt2-induction")],
    out: Annotated[
        Path, typer.Option(help="folder for config.json, model.safetensors and provenance.json")
    ],
    film: Annotated[
        Path | None,
        typer.Option(help="NetCDF file to write: the response measured while the model learns"),
    ] = None,
    steps: Annotated[int, typer.Option(help="of the last phase of the curriculum")] = CURRICULUM[
        -1
    ].steps,
    seed: Annotated[
        int, typer.Option(help="of the initial weights and of the sequences")
    ] = _DEFAULT.seed,
    device: Device = _DEFAULT.device,
) -> None:
    """Train a small GPT-2 until it completes repeated blocks, as the one that is shipped.

    About a quarter of an hour of one core. The same command goes on after a kill.
    """
    known = [each.name for each in models.MODELS if each.shipped]
    if model not in known:
        raise ValueError(f"model={model}: not trained here; choose {', '.join(known)}")
    check_writable(out)
    if film is not None:
        if film.is_dir():
            raise ValueError(f"film={film}: is a folder; give the name of a file in it")
        check_writable(film.parent, "film")
    phases = (*CURRICULUM[:-1], replace(CURRICULUM[-1], steps=steps))
    settings = Gpt2Settings(seed=seed, phases=phases, device=device)
    found = training.gpt2.train_into(out, settings, film, progress=True)
    accurate = "; ".join(f"{value:.3f} at {name}" for name, value in found["accuracy"].items())
    typer.echo(f"{out}: {model}, accuracy {accurate}; {found['wall_time_s']} s")
