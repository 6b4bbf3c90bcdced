"""Configuration of `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # not an installed copy

project = "robustbench_aa"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 3  # anchors of headings, as on GitHub
highlight_language = "none"  # a block without a language is not code
default_role = "code"  # docstrings use Markdown

nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"((torch|nn|pd|pandas|os|pathlib|collections)\.|Tensor$).*"),  # of other packages
    ("py:class", "Failure"),  # only the type of an attribute
    ("py:class", r"numpy\.ndarray"),
    # only types of arguments
    ("py:class", r"([\w.]+\.)?(Count|DatasetEntry|DatasetObject|Function|Images)"),
    ("py:class", r"([\w.]+\.)?(InstanceOf|Integer|Later|Openable)"),
    ("py:exc", r"\w+Error|UnknownName"),  # the page shows the tree of errors
]
