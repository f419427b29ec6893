"""Sphinx extension: Colab and Binder buttons, where the public address of the repository is given.

The address is not known to the sources: set REPOSITORY_URL while building, for example
`make book REPOSITORY_URL=https://github.com/OWNER/NAME`.
"""

import os


def _add(app, config):
    url = os.environ.get("REPOSITORY_URL", "").rstrip("/")
    if not url:
        return
    config.html_theme_options = config.html_theme_options | {
        "repository_url": url,
        "repository_branch": os.environ.get("REPOSITORY_BRANCH", "main"),
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }


def setup(app):
    app.connect("config-inited", _add)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
