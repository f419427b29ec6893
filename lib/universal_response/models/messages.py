"""What transformers says: kept out of notebooks, and of an error the first line."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import transformers


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and notices out of notebooks, and restore them after."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # The GGUF reader's own bar listens to none of these switches.
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """What an error says first, or else its kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
