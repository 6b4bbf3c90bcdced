"""How `make docs` makes pages of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the API page is of this working copy

project = "robustbench_aa"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 3  # headings are linked to as on GitHub
highlight_language = "none"  # a block that names no language is no code
default_role = "code"  # docstrings are written as Markdown is

nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"((torch|nn|pd|pandas|os|pathlib|collections)\.|Tensor$).*"),  # others' names
    ("py:class", "Failure"),  # needed nowhere else than in the type of an attribute
    ("py:exc", r"\w+Error|UnknownName"),  # on the page as a tree
]
