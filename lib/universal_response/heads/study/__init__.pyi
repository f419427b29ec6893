from .find import heads_for
from .material import Material
from .settings import HeadSettings, head_settings_of
from .study import PARTS, study_heads, study_heads_into
from .verify import verify_heads

__all__ = [
    "PARTS",
    "HeadSettings",
    "Material",
    "head_settings_of",
    "heads_for",
    "study_heads",
    "study_heads_into",
    "verify_heads",
]
