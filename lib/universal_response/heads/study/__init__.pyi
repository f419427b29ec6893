from .find import heads_for
from .material import Material
from .settings import HeadSettings
from .study import PARTS, study_heads, study_heads_into
from .verify import verify_heads

__all__ = [
    "PARTS",
    "HeadSettings",
    "Material",
    "heads_for",
    "study_heads",
    "study_heads_into",
    "verify_heads",
]
