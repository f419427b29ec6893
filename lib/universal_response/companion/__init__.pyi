from . import exercises, explorer, explorer_heads, notebooks, provenance

__all__ = ["exercises", "explorer", "explorer_heads", "notebooks", "provenance"]
