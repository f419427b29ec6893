from .statements import TRAINING_CLAIMS, TrainingClaim

__all__ = ["TRAINING_CLAIMS", "TrainingClaim"]
