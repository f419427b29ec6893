from .films import FILM_CLAIMS
from .statements import TRAINING_CLAIMS

__all__ = ["FILM_CLAIMS", "TRAINING_CLAIMS"]
