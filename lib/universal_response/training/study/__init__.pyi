from .find import training_for
from .settings import DEFAULT, StudySettings, study_settings_of
from .study import study_training, study_training_into
from .verify import verify_training

__all__ = [
    "DEFAULT",
    "StudySettings",
    "study_settings_of",
    "study_training",
    "study_training_into",
    "training_for",
    "verify_training",
]
