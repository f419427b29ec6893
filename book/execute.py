"""Execute the notebooks, several at a time, into the cache from which Jupyter Book takes them.

The cache knows a notebook by its cells, not by the library and the results that they use: every
build begins with an empty one. What fails here, Jupyter Book executes again, and reports.
"""

import shutil
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "_build" / ".jupyter_cache"  # where Jupyter Book looks

if __name__ == "__main__":
    shutil.rmtree(CACHE, ignore_errors=True)
    cache = get_cache(CACHE)
    for path in sorted([*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("notebooks/course/*.ipynb")]):
        cache.add_nb_to_project(str(path))
    load_executor("local-parallel", cache).run_and_cache(timeout=600)
