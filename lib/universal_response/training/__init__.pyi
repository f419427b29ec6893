from .exemplars import features, features_sha256, letters
from .task import SPLITS, Sequences, Split, Task, generator_of, stacked

__all__ = [
    "SPLITS",
    "Sequences",
    "Split",
    "Task",
    "features",
    "features_sha256",
    "generator_of",
    "letters",
    "stacked",
]
