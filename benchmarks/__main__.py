"""Command line of the benchmarks: `python -m benchmarks --help`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from transformer_lens.model_bridge import TransformerBridge
from universal_response.measurement import DEFAULT_EPSILONS, Settings
from universal_response.models import config_of, load_model, resolve_device

from benchmarks import report
from benchmarks.choices import choices
from benchmarks.compare import Disagreement, compare
from benchmarks.contenders import CONTENDERS, Case
from benchmarks.growth import growth
from benchmarks.memory import memory
from benchmarks.models import random_tokens, with_random_weights
from benchmarks.profile import shares
from benchmarks.sampling import sampling
from benchmarks.scale import agreement, scale
from benchmarks.workers import workers

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)

Model = Annotated[str, typer.Option(help="registered name, local folder or hub id")]
T0 = Annotated[int, typer.Option("--t0", help="length of the repeated block; T = 2 T0", min=2)]
Sequences = Annotated[int, typer.Option(help="sequences", min=1)]
Epsilons = Annotated[str, typer.Option(help="strengths, separated by spaces or commas")]
Repetitions = Annotated[int, typer.Option(help="how often each way is run, in turn", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps")]
Dtype = Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16")]
Random = Annotated[bool, typer.Option("--random-weights", help="no download: weights at random")]
Out = Annotated[Path, typer.Option(help="folder for JSON and table")]

PAPER_MODELS = "gemma-2-2b llama-3.2-3b gpt2-xl"
ALL_EPSILONS = " ".join(f"{epsilon:g}" for epsilon in DEFAULT_EPSILONS)
RESULTS = Path(__file__).parent / "results"


@app.command("compare")
def compare_command(
    model: Model = "smollm2-135m",
    t0: T0 = 64,
    sequences: Sequences = 2,
    epsilons: Epsilons = "0.03 0.1",
    repetitions: Repetitions = 2,
    only: Annotated[str, typer.Option(help="ways, separated by spaces; all if empty")] = "",
    device: Device = "auto",
    dtype: Dtype = "float32",
    random_weights: Random = False,
    seed: int = 0,
    out: Out = RESULTS,
) -> None:
    """Time the engine beside the plain ways, on one model; refuse if they disagree."""
    names = tuple(only.split()) or tuple(CONTENDERS)
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown:
        raise ValueError(f"only={unknown[0]}: choose from {', '.join(CONTENDERS)}")
    case, about = _case(model, t0, sequences, epsilons, device, dtype, random_weights, seed)
    written = about | report.as_json(compare(case, repetitions, names))
    text = report.table(written)
    print(text)
    stem = f"compare-{Path(model).name}-t{t0}-b{sequences}-e{len(case.epsilons)}"
    print(report.write(out, f"{stem}-{case.tokens.device.type}", written, text))


@app.command("growth")
def growth_command(
    model: Model = "smollm2-135m",
    device: Device = "auto",
    dtype: Dtype = "float32",
    repetitions: Repetitions = 2,
    out: Out = RESULTS,
) -> None:
    """Time the engine against T0, sequences, strengths and layers; weights at random."""
    where = resolve_device(device)
    found = growth(config_of(model), where, dtype, repetitions)
    about = report.header(where, model=model, random_weights=True, dtype=dtype)
    for name, points in found.items():
        print(name, ", ".join(f"{point[name]}: {point['median_s']:.2f} s" for point in points))
    print(report.write(out, f"growth-{Path(model).name}-{where.type}", about | {"growth": found}))


@app.command("choices")
def choices_command(
    model: Model = "smollm2-135m",
    t0: T0 = 24,
    sequences: Sequences = 2,
    epsilons: Epsilons = "0.03 0.1",
    repetitions: Repetitions = 3,
    device: Device = "auto",
    dtype: Dtype = "float32",
    random_weights: Random = False,
    seed: int = 0,
    out: Out = RESULTS,
) -> None:
    """Time of the engine with one of its choices at a time made otherwise."""
    case, about = _case(model, t0, sequences, epsilons, device, dtype, random_weights, seed)
    found = choices(case, repetitions)
    for name, row in found.items():
        print(f"{name:40s} {row['times_engine']:5.2f} times the time")
    stem = f"choices-{Path(model).name}-{case.tokens.device.type}"
    print(report.write(out, stem, about | {"choices": found}))


@app.command("memory")
def memory_command(
    model: Model = "smollm2-135m",
    t0: T0 = 64,
    sizes: Annotated[
        str, typer.Option(help="SEQUENCESxSTRENGTHS, separated by spaces")
    ] = "2x1 2x4 2x12 32x1",
    device: Device = "auto",
    dtype: Dtype = "float32",
    random_weights: Random = False,
    out: Out = RESULTS,
) -> None:
    """Most memory beside the weights, for several numbers of sequences and strengths."""
    bridge = _load(model, device, dtype, random_weights)
    pairs = [(int(one), int(other)) for one, _, other in (s.partition("x") for s in sizes.split())]
    found = memory(bridge, pairs, t0)
    where = resolve_device(device)
    about = report.header(where, model=model, random_weights=random_weights, dtype=dtype, seed=0)
    for size in found:
        print(", ".join(f"{name}: {value:,}" for name, value in size.items()))
    print(report.write(out, f"memory-{Path(model).name}-{where.type}", about | {"memory": found}))


@app.command("profile")
def profile_command(
    model: Model = "smollm2-135m",
    t0: T0 = 16,
    sequences: Sequences = 8,
    epsilons: Epsilons = "0.03 0.1",
    device: Device = "auto",
    dtype: Dtype = "float32",
    random_weights: Random = False,
    seed: int = 0,
    out: Out = RESULTS,
) -> None:
    """Where the time of the engine goes."""
    case, about = _case(model, t0, sequences, epsilons, device, dtype, random_weights, seed)
    found = shares(case)
    print("\n".join(f"{part:28s} {share:6.1%}" for part, share in found.items()))
    stem = f"profile-{Path(model).name}-{case.tokens.device.type}"
    print(report.write(out, stem, about | {"shares": found}))


@app.command("workers")
def workers_command(
    model: Model = "smollm2-135m",
    t0: T0 = 24,
    sequences: Sequences = 8,
    repetitions: Repetitions = 2,
    out: Out = RESULTS,
) -> None:
    """The same measurement by one and by two Dask workers of one thread each, on this machine."""
    settings = Settings(t0=t0, batch=sequences, epsilons=(0.03, 0.1), epsilon0=0.03, device="cpu")
    found = workers(model, settings, repetitions)
    about = report.header(
        resolve_device("cpu"),
        model=model,
        t0=t0,
        sequences=sequences,
        epsilons=list(settings.epsilons),
        seed=settings.seed,
    )
    print(", ".join(f"{name}: {value}" for name, value in found.items()))
    print(report.write(out, f"workers-{Path(model).name}", about | {"workers": found}))


@app.command("sampling")
def sampling_command(
    model: Model = "smollm2-135m",
    t0: T0 = 64,
    sequences: Sequences = 32,
    device: Device = "auto",
    out: Out = RESULTS,
) -> None:
    """All sources, and fewer in more sequences: cost and standard error, in the linear limit."""
    settings = Settings(t0=t0, batch=sequences, epsilons=(), device=device)
    bridge = load_model(model, device, tokenizer=False)
    found = sampling(bridge, settings)
    where = resolve_device(device)
    about = report.header(where, model=model, t0=t0, sequences=sequences, seed=settings.seed)
    for name in ("all sources", "a sample"):
        print(name, ", ".join(f"{key}: {value}" for key, value in found[name].items()))
    print(
        report.write(out, f"sampling-{Path(model).name}-{where.type}", about | {"sampling": found})
    )


@app.command("scale")
def scale_command(
    models: Annotated[str, typer.Option(help="names, separated by spaces")] = PAPER_MODELS,
    t0: T0 = 64,
    sequences: Sequences = 32,
    epsilons: Epsilons = ALL_EPSILONS,
    device: Device = "auto",
    dtype: Dtype = "float32",
    out: Out = RESULTS,
) -> None:
    """Measure full-size models with random weights at the scale of the paper; wants a GPU."""
    strengths = _strengths(epsilons)
    settings = Settings(t0=t0, batch=sequences, epsilons=strengths, epsilon0=strengths[0])
    where = resolve_device(device)
    for model in models.split():
        bridge = with_random_weights(config_of(model), where, dtype)
        found = scale(bridge, settings)
        if dtype == "float32" and where.type != "cpu":
            found["cpu_agrees"] = round(agreement(bridge), 3)
        about = report.header(
            where,
            model=model,
            random_weights=True,
            t0=t0,
            sequences=sequences,
            epsilons=list(strengths),
            dtype=dtype,
            seed=settings.seed,
        )
        print(model, ", ".join(f"{name}: {value:g}" for name, value in found.items()))
        stem = f"scale-{Path(model).name}-{where.type}-{dtype}"
        print(report.write(out, stem, about | {"scale": found}))
        del bridge


def _case(
    model: str, t0: int, sequences: int, epsilons: str, device: str, dtype: str,
    random_weights: bool, seed: int,
) -> tuple[Case, dict[str, Any]]:  # fmt: skip
    """What is computed, and the head of the report that says so."""
    bridge, strengths = _load(model, device, dtype, random_weights), _strengths(epsilons)
    case = Case(bridge, random_tokens(bridge, t0, sequences, seed), strengths)
    about = report.header(
        case.tokens.device,
        model=model,
        random_weights=random_weights,
        t0=t0,
        sequences=sequences,
        epsilons=list(strengths),
        dtype=dtype,
        seed=seed,
    )
    return case, about


def _strengths(epsilons: str) -> tuple[float, ...]:
    return tuple(float(epsilon) for epsilon in epsilons.replace(",", " ").split())


def _load(model: str, device: str, dtype: str, random_weights: bool) -> TransformerBridge:
    if not random_weights:
        return load_model(model, device, dtype, tokenizer=False)
    return with_random_weights(config_of(model), resolve_device(device), dtype)


def main() -> None:
    try:
        app(standalone_mode=False)
    except (ValueError, Disagreement) as error:
        raise SystemExit(f"error: {error}") from None
    except typer.Abort:
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
