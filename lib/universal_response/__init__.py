"""Universal response of language models to weak single-token perturbations (arXiv 2411.07071)."""

import warnings

import lazy_loader

# In a notebook without ipywidgets tqdm says so; this library shows no bars in notebooks.
warnings.filterwarnings("ignore", message="IProgress not found")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
