"""The experiments: what is trained, with which clamps, on which data, for how long."""

from dataclasses import dataclass

from universal_response.training.clamps import CLAMPS, Clamps, grafted, kept, previous_token
from universal_response.training.model import HEADS, Model
from universal_response.training.settings import Run, TrainingSettings
from universal_response.training.study.settings import StudySettings
from universal_response.training.summaries import (
    CLASSES,
    COPYING,
    FULL,
    GRAFT,
    LABELS,
    MATCHING,
    RESPONSES,
    SINGLE,
)
from universal_response.training.task import Task

# Sequences between evaluations, of long trainings and of short ones.
COARSE, FINE = 8_000, 1_600
BATCH = TrainingSettings.batch


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs of one kind, one for every seed.

    Attributes:
        name: what is done, in a few words.
        sequences: how long each is trained, at the usual length.
        every: sequences between evaluations.
        clamps: throughout training.
        task: classes and labels.
        norm_epsilon: added to the variance in every norm.
        responses: whether the response to the labels is measured.
        by_head: a run for every head of layer 2, which acts alone, all of the first seed.
    """

    name: str
    sequences: int
    every: int = COARSE
    clamps: Clamps = ()
    task: Task = Task()  # noqa: RUF009 (frozen)
    norm_epsilon: float = 1e-5
    responses: bool = False
    by_head: bool = False

    def runs(self, seeds: tuple[int, ...]) -> tuple[Run, ...]:
        """Its runs."""
        if self.by_head:
            return tuple(
                Run(seed=seeds[0], task=self.task, clamps=kept(2, [head])) for head in range(HEADS)
            )
        return tuple(Run(seed=seed, task=self.task, clamps=self.clamps) for seed in seeds)

    def settings(self, study: StudySettings) -> TrainingSettings:
        """What is trained: evaluated as often, whatever the length."""
        every = BATCH * max(1, round(self.every * study.length / BATCH))
        return TrainingSettings(
            runs=self.runs(study.seeds),
            sequences=self.sequences // self.every * every,
            batch=BATCH,
            every=every,
            learning_rate=study.learning_rate,
            norm_epsilon=self.norm_epsilon,
            evaluated_on=study.evaluated_on,
            responses=self.responses,
            device=study.device,
        )


def _with_data(name: str, task: Task, sequences: int) -> tuple[Experiment, ...]:
    """Other data: the whole model, and the subcircuits of matching (B) and of copying (C) alone."""
    return (
        Experiment(name=name, sequences=sequences, task=task),
        *(
            Experiment(
                name=f"{clamp}, {name}", sequences=length, every=FINE, task=task,
                clamps=CLAMPS[clamp],
            )
            for clamp, length in ((MATCHING, 80_000), (COPYING, 128_000))
        ),
    )  # fmt: skip


_FREE = (
    Experiment(name=FULL, sequences=752_000),
    # A larger one lets the change of a label leak into later tokens by their norms.
    Experiment(name=RESPONSES, sequences=752_000, norm_epsilon=1e-12, responses=True),
)
_CLAMPED = (
    Experiment(name="L1 + copy", sequences=80_000, every=FINE, clamps=CLAMPS["L1 + copy"]),
    Experiment(name="copy", sequences=160_000, every=FINE, clamps=CLAMPS["copy"]),
    Experiment(name="match", sequences=128_000, every=FINE, clamps=CLAMPS["match"]),
    Experiment(name="L1", sequences=240_000, every=FINE, clamps=CLAMPS["L1"]),
    Experiment(name="PT", sequences=800_000, clamps=CLAMPS["PT"]),
    Experiment(name="none", sequences=1_200_000, clamps=CLAMPS["none"]),
    Experiment(
        name="all PT", sequences=1_200_000, clamps=CLAMPS["none"] + previous_token(range(HEADS))
    ),
)
_DATA = (
    *_with_data(LABELS, Task(labels=10), 1_600_000),
    *_with_data(CLASSES, Task(classes=100), 800_000),
)

EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for each in (
        *_FREE,
        *_CLAMPED,
        *_DATA,
        Experiment(name=SINGLE, sequences=800_000, by_head=True),
    )
}


def grafting(donor: Model) -> Experiment:
    """New models behind the embedding and first layer of trained ones of the same seeds."""
    return Experiment(name=GRAFT, sequences=160_000, every=FINE, clamps=grafted(donor))
