"""Results of a prompt -> one page that can be mailed: everything it shows is inside it."""

import os
import tempfile
from pathlib import Path

import jinja2
import xarray as xr

from universal_response.companion import explorer_prompt

TEMPLATE = "page.html"

# Characters of the prompt in the title of the page.
TITLE_LENGTH = 60


def write_page(dataset: xr.Dataset, text: str, path: str | Path) -> Path:
    """Write the page of a prompt, complete or not at all.

    Args:
        dataset: results of a single prompt, with their maps.
        text: the prompt.
        path: of the page; its folder must be there.

    Returns:
        The path written.

    Raises:
        ValueError: the results hold no maps, or several sequences.
    """
    path = Path(path)
    page = prompt_page(dataset, text)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        partial = Path(folder) / path.name
        # Line breaks as they are: a prompt may hold any of them.
        partial.write_text(page, encoding="utf-8", newline="")
        os.replace(partial, path)
    return path


def prompt_page(dataset: xr.Dataset, text: str) -> str:
    """The page of a prompt: its text, the interactive map, how it was made and how to read it.

    It loads nothing and forbids itself to. What comes from the prompt is escaped.

    Raises:
        ValueError: as for `write_page`.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(explorer_prompt.page_file(TEMPLATE))
    data = explorer_prompt.prompt_data(dataset)
    return template.render(
        heading=f"{data['title']}: {_short(text)}",
        text=text,
        data=data,
        script=explorer_prompt.page_file(explorer_prompt.SCRIPT),
        look=explorer_prompt.page_file(explorer_prompt.LOOK),
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1].rstrip() + "…"
