from . import exercises, explorer, notebooks, provenance

__all__ = ["exercises", "explorer", "notebooks", "provenance"]
