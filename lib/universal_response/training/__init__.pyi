from . import summaries
from .checkpoints import load, save
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
from .evaluation import evaluate, evaluation_sequences
from .exemplars import features, features_sha256, letters
from .learning import train
from .model import Model, initial
from .parameters import flattened, model_of
from .passes import Pass, forward
from .progress import accuracy, induction_strength, loss
from .responses import LabelResponse, carried, contrast, label_response
from .settings import Run, TrainingSettings
from .study import (
    DEFAULT,
    StudySettings,
    study_settings_of,
    study_training,
    study_training_into,
    training_for,
    verify_training,
)
from .task import SPLITS, Sequences, Split, Task, generator_of, stacked

__all__ = [
    "ACTIVATIONS",
    "CLAMPS",
    "DEFAULT",
    "SPLITS",
    "Clamp",
    "LabelResponse",
    "Model",
    "Pass",
    "Run",
    "Sequences",
    "Split",
    "StudySettings",
    "Task",
    "TrainingSettings",
    "accuracy",
    "carried",
    "contrast",
    "copied",
    "dropped",
    "evaluate",
    "evaluation_sequences",
    "features",
    "features_sha256",
    "first_layer",
    "flattened",
    "forward",
    "generator_of",
    "grafted",
    "induction_strength",
    "initial",
    "kept",
    "label_response",
    "letters",
    "load",
    "loss",
    "matched",
    "model_of",
    "of_runs",
    "path_dropped",
    "pattern_preserving",
    "previous_token",
    "save",
    "stacked",
    "study_settings_of",
    "study_training",
    "study_training_into",
    "summaries",
    "train",
    "training_for",
    "value_preserving",
    "verify_training",
]
