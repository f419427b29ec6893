"""What is trained: runs side by side, checked where they are made."""

from dataclasses import dataclass

from universal_response.models import check_device
from universal_response.number_types import check_dtype
from universal_response.training.clamping import Clamp
from universal_response.training.task import Task


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of the runs.

    Attributes:
        seed: of the initial weights and of the order of the data.
        task: classes and labels.
        clamps: throughout training, and wherever it is evaluated.

    Raises:
        ValueError: seed < 0.
    """

    seed: int = 0
    task: Task = Task()  # noqa: RUF009 (frozen)
    clamps: tuple[Clamp, ...] = ()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: use a seed >= 0")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Runs that are trained side by side. Training is counted in sequences.

    Attributes:
        runs: each with its own seed, task and clamps, all with the same number of labels.
        sequences: how long each is trained.
        batch: sequences of a step.
        learning_rate: of Adam.
        norm_epsilon: added to the variance in every norm; for responses use 1e-12.
        every: sequences between evaluations, each of which is a checkpoint as well.
        evaluated_on: sequences of each split.
        responses: measure the response to the labels too.
        dtype: `float32` or `float64`.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        ValueError: a setting is out of range.
    """

    runs: tuple[Run, ...] = (Run(),)
    sequences: int = 1_000_000
    batch: int = 32
    learning_rate: float = 1e-5
    norm_epsilon: float = 1e-5
    every: int = 8_000
    evaluated_on: int = 512
    responses: bool = False
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def labels(self) -> int:
        return self.runs[0].task.labels

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("runs=(): give at least one")
        if len({run.task.labels for run in self.runs}) > 1:
            found = ", ".join(str(run.task.labels) for run in self.runs)
            raise ValueError(f"runs: of {found} labels; train those of one number together")
        for name in ("batch", "evaluated_on"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: use at least 1")
        for name, step in (("every", self.batch), ("sequences", self.every)):
            if getattr(self, name) < 1 or getattr(self, name) % step:
                of = "batch" if name == "every" else "every"
                raise ValueError(
                    f"{name}={getattr(self, name)}: use a multiple of {of}={step}, at least one"
                )
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate={self.learning_rate:g}: use a rate > 0")
        if self.norm_epsilon <= 0:
            raise ValueError(f"norm_epsilon={self.norm_epsilon:g}: use a number > 0, such as 1e-12")
        check_dtype(self.dtype)
        if self.dtype not in ("float32", "float64"):
            raise ValueError(f"dtype={self.dtype}: choose float32 or float64")
        check_device(self.device)
