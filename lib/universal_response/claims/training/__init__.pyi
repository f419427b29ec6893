from .statements import TRAINING_CLAIMS

__all__ = ["TRAINING_CLAIMS"]
