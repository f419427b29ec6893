"""Sphinx extension: data and scripts of the interactive explorers, for their pages alone."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

from universal_response.companion import explorer, explorer_heads, explorer_prompt

# Of every page what writes its data, its look, and its scripts in the order in which they run.
PAGES = {
    "book/explorer": (
        explorer,
        "explorer.css",
        ("plotly.min.js", explorer.INDEX, "explorer_shared.js", "explorer.js"),
    ),
    "book/explorer_heads": (
        explorer_heads,
        "explorer.css",
        ("plotly.min.js", explorer_heads.INDEX, "explorer_shared.js", "explorer_heads.js"),
    ),
    "book/explorer_prompt": (
        explorer_prompt,
        explorer_prompt.LOOK,
        (explorer_prompt.INDEX, explorer_prompt.SCRIPT),
    ),
}


def _write_scripts(app):
    """Plotly from its package and the data from results/, next to the other static files."""
    if app.builder.format != "html":
        return
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    for data, _, _ in PAGES.values():
        for name, text in data.scripts(Path(app.srcdir) / "results").items():
            (static / name).write_text(text, encoding="utf-8")
    with as_file(files("plotly") / "package_data" / "plotly.min.js") as plotly:
        shutil.copyfile(plotly, static / "plotly.min.js")


def _load_scripts(app, pagename, templatename, context, doctree):
    if pagename in PAGES:
        _, look, scripts = PAGES[pagename]
        app.add_css_file(look)
        for name in scripts:
            app.add_js_file(name, loading_method="defer")


def setup(app):
    app.connect("builder-inited", _write_scripts)
    app.connect("html-page-context", _load_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
