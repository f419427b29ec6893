"""What a study of training consists of."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """All experiments on the small model, at any size.

    Attributes:
        seeds: of the runs of every experiment; the text needs five.
        length: of every training, in parts of the usual one.
        learning_rate: of Adam; with ten times the usual one, a tenth of the length will do.
        evaluated_on: sequences of each split.
        device: for the model.

    Raises:
        ValueError: a setting is out of range.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    length: float = 1.0
    learning_rate: float = 1e-5
    evaluated_on: int = 512
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            given = " ".join(map(str, self.seeds))
            raise ValueError(f"seeds={given}: use different seeds >= 0, at least one")
        if not 0 < self.length <= 10:
            raise ValueError(f"length={self.length:g}: use 0 < length <= 10")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate={self.learning_rate:g}: use a rate > 0")
        if self.evaluated_on < 1:
            raise ValueError(f"evaluated_on={self.evaluated_on}: use at least 1")


DEFAULT = StudySettings()


def study_settings_of(dataset: Any) -> StudySettings:
    """The settings that a study was made with, from its attributes; `device` is the default."""
    attributes = dataset.attrs
    return StudySettings(
        seeds=tuple(map(int, attributes["seeds"].split())),
        length=float(attributes["length"]),
        learning_rate=float(attributes["learning_rate"]),
        evaluated_on=int(attributes["evaluated_on"]),
    )
