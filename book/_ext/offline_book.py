"""Sphinx extension: the built pages work from a folder, without a network, and for every reader."""

from docutils import nodes

# A page opened from a file may not read other files, so the search cannot quote them. It would ask
# anyway, and every result would leave an error in the console.
_NO_QUOTES = 'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'


def _drop_remote_scripts(app, pagename, templatename, context, doctree):
    """Thebe (live code) is loaded from a CDN whether or not it is switched on."""
    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not _is_thebe(script)]


def _is_thebe(script) -> bool:
    body = getattr(script, "attributes", {}).get("body") or ""
    name = str(getattr(script, "filename", script) or "")
    return "THEBE_JS_URL" in body or "sphinx-thebe" in name


def _mend_pages(app, pagename, templatename, context, doctree):
    """Small faults of the theme and of docutils, found by `tests/book`."""
    # The theme expects a default colour scheme and logs an error if there is none.
    context.setdefault("default_mode", "auto")
    # docutils makes a bibliography a list of items whose role ARIA has withdrawn.
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def _let_figures_scroll(app, doctree, docname):
    """On a phone a wide figure scrolls sideways, apart from its caption (see `book.css`).

    The theme lets the keyboard reach and scroll what has this class, when it is too wide.
    """
    for figure in list(doctree.findall(nodes.figure)):
        picture = figure.children[0]
        box = nodes.container(classes=["pst-scrollable-table-container", "figure-box"])
        figure.replace(picture, box)
        box += picture


def setup(app):
    app.add_js_file(None, body=_NO_QUOTES)
    app.connect("html-page-context", _drop_remote_scripts, priority=900)
    app.connect("html-page-context", _mend_pages)
    app.connect("doctree-resolved", _let_figures_scroll)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
