from . import (
    exercises,
    explorer,
    explorer_heads,
    explorer_prompt,
    notebooks,
    prompt_page,
    provenance,
)

__all__ = [
    "exercises",
    "explorer",
    "explorer_heads",
    "explorer_prompt",
    "notebooks",
    "prompt_page",
    "provenance",
]
