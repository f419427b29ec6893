from .clamping import ACTIVATIONS, Clamp, of_runs
from .clamps import (
    CLAMPS,
    copied,
    dropped,
    first_layer,
    grafted,
    kept,
    matched,
    path_dropped,
    pattern_preserving,
    previous_token,
    value_preserving,
)
from .exemplars import features, features_sha256, letters
from .model import Model, initial
from .passes import Pass, forward
from .progress import accuracy, induction_strength, loss
from .responses import LabelResponse, carried, contrast, label_response
from .task import SPLITS, Sequences, Split, Task, generator_of, stacked

__all__ = [
    "ACTIVATIONS",
    "CLAMPS",
    "SPLITS",
    "Clamp",
    "LabelResponse",
    "Model",
    "Pass",
    "Sequences",
    "Split",
    "Task",
    "accuracy",
    "carried",
    "contrast",
    "copied",
    "dropped",
    "features",
    "features_sha256",
    "first_layer",
    "forward",
    "generator_of",
    "grafted",
    "induction_strength",
    "initial",
    "kept",
    "label_response",
    "letters",
    "loss",
    "matched",
    "of_runs",
    "path_dropped",
    "pattern_preserving",
    "previous_token",
    "stacked",
    "value_preserving",
]
