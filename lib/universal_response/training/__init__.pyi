from . import film_summaries, gpt2, summaries
from .ablations import (
    Score,
    added_back,
    by_strength,
    drop_one,
    keep_one,
    scored,
    swept_strength,
    without_path,
)
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
from .composition import RANDOM_COMPOSITION, weight_composition
from .evaluation import evaluate, evaluation_sequences
from .exemplars import features, features_sha256, letters
from .learning import train
from .model import Model, initial
from .parameters import flattened, model_of
from .passes import Pass, forward
from .previous_heads import PreviousAblated, previous_heads_ablated
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
from .toy import plateau_end, toy_curves
from .wiring import gained_with, lost_without, paired_accuracy

__all__ = [
    "ACTIVATIONS",
    "CLAMPS",
    "DEFAULT",
    "RANDOM_COMPOSITION",
    "SPLITS",
    "Clamp",
    "LabelResponse",
    "Model",
    "Pass",
    "PreviousAblated",
    "Run",
    "Score",
    "Sequences",
    "Split",
    "StudySettings",
    "Task",
    "TrainingSettings",
    "accuracy",
    "added_back",
    "by_strength",
    "carried",
    "contrast",
    "copied",
    "drop_one",
    "dropped",
    "evaluate",
    "evaluation_sequences",
    "features",
    "features_sha256",
    "film_summaries",
    "first_layer",
    "flattened",
    "forward",
    "gained_with",
    "generator_of",
    "gpt2",
    "grafted",
    "induction_strength",
    "initial",
    "keep_one",
    "kept",
    "label_response",
    "letters",
    "load",
    "loss",
    "lost_without",
    "matched",
    "model_of",
    "of_runs",
    "paired_accuracy",
    "path_dropped",
    "pattern_preserving",
    "plateau_end",
    "previous_heads_ablated",
    "previous_token",
    "save",
    "scored",
    "stacked",
    "study_settings_of",
    "study_training",
    "study_training_into",
    "summaries",
    "swept_strength",
    "toy_curves",
    "train",
    "training_for",
    "value_preserving",
    "verify_training",
    "weight_composition",
    "without_path",
]
