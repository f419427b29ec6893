"""Sphinx extension: the built pages ask no other host for anything."""


def _drop_remote_scripts(app, pagename, templatename, context, doctree):
    """Thebe (live code) is loaded from a CDN whether or not it is switched on."""
    scripts = context.get("script_files", [])
    scripts[:] = [script for script in scripts if not _is_thebe(script)]


def _is_thebe(script) -> bool:
    body = getattr(script, "attributes", {}).get("body") or ""
    name = str(getattr(script, "filename", script) or "")
    return "THEBE_JS_URL" in body or "sphinx-thebe" in name


def setup(app):
    app.connect("html-page-context", _drop_remote_scripts, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
