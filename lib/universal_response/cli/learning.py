"""Commands that train: letters, gpt2-induction, adder."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from universal_response import arithmetic, models, training
from universal_response.arithmetic.settings import AdderSettings
from universal_response.arithmetic.splits import WITHHELD
from universal_response.cli.options import Device, check_output, check_writable, seeds_from
from universal_response.training.gpt2.curriculum import CURRICULUM
from universal_response.training.gpt2.settings import Gpt2Settings
from universal_response.training.study.settings import DEFAULT as _STUDY
from universal_response.training.study.settings import StudySettings

_DEFAULT = Gpt2Settings()
_ADDER = AdderSettings()


def train_gpt2(
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
    check_writable(out)
    if film is not None:
        check_output(film, "film")
    phases = (*CURRICULUM[:-1], replace(CURRICULUM[-1], steps=steps))
    settings = Gpt2Settings(seed=seed, phases=phases, device=device)
    found = training.gpt2.train_into(out, settings, film, progress=True)
    accurate = "; ".join(f"{value:.3f} at {name}" for name, value in found["accuracy"].items())
    typer.echo(f"{out}: accuracy {accurate}; {found['wall_time_s']} s")


def train_letters(
    out: Annotated[Path, typer.Option(help="NetCDF file to write")],
    seeds: Annotated[
        str, typer.Option(help="of the runs of every experiment, numbers with spaces between")
    ] = " ".join(map(str, _STUDY.seeds)),
    length: Annotated[
        float, typer.Option(help="of every training, in parts of the usual one")
    ] = _STUDY.length,
    learning_rate: Annotated[
        float, typer.Option(help="of Adam; ten times the usual one for a tenth of the length")
    ] = _STUDY.learning_rate,
    evaluated_on: Annotated[
        int, typer.Option(help="sequences on which models are evaluated")
    ] = _STUDY.evaluated_on,
    device: Device = _STUDY.device,
) -> None:
    """Train a small model in many ways, with clamps and without: how is induction learned?

    Killed, the same command goes on from the last checkpoint.
    """
    check_output(out)
    settings = StudySettings(
        seeds=seeds_from(seeds), length=length, learning_rate=learning_rate,
        evaluated_on=evaluated_on, device=device,
    )  # fmt: skip
    models.check_device(device)
    found = training.study_training_into(out, settings, progress=True)
    n = found.sizes["run"]
    typer.echo(f"{out}: {n} runs; {found.attrs['wall_time_s'] / 60:.0f} minutes of one thread")


def train_adder(
    out: Annotated[
        Path, typer.Option(help="folder for config.json, model.safetensors and provenance.json")
    ],
    withheld: Annotated[
        str, typer.Option(help=f"of which kind training has none: {', '.join(WITHHELD)}")
    ] = _ADDER.withheld,
    steps: Annotated[int, typer.Option(help="of AdamW")] = _ADDER.steps,
    seed: Annotated[
        int, typer.Option(help="of what is held out, of weights and of the order of problems")
    ] = _ADDER.seed,
    device: Device = _ADDER.device,
) -> None:
    """Train a small Llama to add and subtract numbers of two digits, as those that are shipped.

    Under two minutes of one core.
    """
    check_writable(out)
    settings = AdderSettings(withheld=withheld, steps=steps, seed=seed, device=device)
    models.check_device(device)
    found = arithmetic.train_into(out, settings, progress=True)
    accurate = "; ".join(f"{value:.3f} of {name}" for name, value in found["accuracy"].items())
    typer.echo(f"{out}: right {accurate}; {found['wall_time_s']} s")
