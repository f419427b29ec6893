"""Options of the command line, and the settings made of them."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from universal_response import models
from universal_response.measurement.output import check_file
from universal_response.measurement.settings import DEFAULT, Settings

Model = Annotated[str, typer.Option(help="registered name, local folder, or hub id owner/name")]
T0 = Annotated[int, typer.Option(help="length of the repeated block; a sequence has 2 T0 tokens")]
Batch = Annotated[int, typer.Option(help="number of random sequences averaged over")]
Epsilons = Annotated[
    str,
    typer.Option(
        help='perturbation strengths in (0, 1], by commas or spaces; "" for the limit only'
    ),
]
Epsilon0 = Annotated[float, typer.Option(help="reference strength; one of the epsilons")]
Seed = Annotated[int, typer.Option(help="of the random tokens, and of drawn sources")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps")]
Dtype = Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16")]
Chunk = Annotated[
    int | None,
    typer.Option(help="sequences measured at a time; chosen from their memory if absent"),
]
Distance = Annotated[
    int | None,
    typer.Option(help="where a peak is expected; T0 - 1 if absent, and nowhere for other input"),
]
Sources = Annotated[
    int | None, typer.Option(help="tokens perturbed in each sequence, drawn; all if absent")
]
Distinct = Annotated[bool, typer.Option("--distinct", help="no token twice in a random block")]
Products = Annotated[
    str, typer.Option(help="in which changes are multiplied: float32, tf32, bfloat16 or auto")
]

TextFile = Annotated[
    Path | None,
    typer.Option(help="measure this UTF-8 text; a blank line begins the next sequence"),
]
TokensFile = Annotated[
    Path | None,
    typer.Option(help="measure the token ids in this file, one sequence per line"),
]
Bos = Annotated[
    bool | None,
    typer.Option(
        "--bos/--no-bos",
        help="put the BOS token before a text, or not; if absent, as the tokenizer does by itself",
    ),
]
Repeat = Annotated[
    bool, typer.Option("--repeat/--no-repeat", help="write the text, or each sequence, twice")
]
Length = Annotated[
    int | None,
    typer.Option(help="tokens kept of each sequence; those of the shortest if absent"),
]

DEFAULT_EPSILONS = ",".join(f"{epsilon:g}" for epsilon in DEFAULT.epsilons)


def settings_from(model: str, epsilons: str, here: bool = True, **others: Any) -> Settings:
    """Settings from options, for a model that can be one.

    The device must be on this machine if the model is to run `here`.

    Raises:
        ValueError: a setting is out of range, or there is no such model or device.
    """
    try:
        strengths = tuple(float(part) for part in epsilons.replace(",", " ").split())
    except ValueError:
        raise ValueError(
            f"epsilons={epsilons}: give numbers in (0, 1], by commas or spaces"
        ) from None
    models.check_model(model)
    if here:
        models.check_device(others["device"])
    return Settings(epsilons=strengths, **others)


def seeds_from(text: str) -> tuple[int, ...]:
    """Seeds from an option.

    Raises:
        ValueError: one of them is no whole number.
    """
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ValueError(f"seeds={text}: give whole numbers, by commas or spaces") from None


def check_output(file: Path, name: str = "out") -> None:
    """Refuse a file that cannot be written, before hours of measurement."""
    check_file(file, name)
    check_writable(file.parent, name)


def check_writable(folder: Path, name: str = "out") -> None:
    """Find out before hours of measurement, and without making the folder yet."""
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"{name}={folder}: {there} is no folder one can write to; choose another")
