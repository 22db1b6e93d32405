"""How the site is built: `make docs`. Nothing is fetched, and every warning is an error."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import mlsbi  # noqa: E402  (the extensions' folder comes first)

project = "mlsbi"
author = "mlsbi developers"
project_copyright = "mlsbi developers, MIT licence"
version = release = mlsbi.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "quiet_comments",
    "google_docstrings",
    "outside_links",
    "static_math",
    "public_names",
]
exclude_patterns = ["_build", "images", "**.ipynb_checkpoints"]

# Pages: Markdown that reads on GitHub, too.
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 4  # GitHub's anchors
nb_execution_mode = "off"  # notebooks come with their results
nb_ipywidgets_js = {}  # no scripts from elsewhere
html_math_renderer = "static"

# The API, from docstrings.
default_role = "literal"  # `x` in a docstring is code
autosummary_generate = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

# Types that have no page here: other libraries', and what only those who add to mlsbi meet.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|nn|sbi|zuko|matplotlib|collections|concurrent|pathlib|os)\..*"),
    ("py:class", "Figure|Axes|Tensor|Path"),
    ("py:class", r"mlsbi\.(_fit_base\.Fit|checking\.repair\._Fit|crossfit\.Scored)"),
    ("py:class", r"mlsbi\.metrics\.coverage\.PosteriorLike"),
    (
        "py:class",
        r"mlsbi\.estimators\.(base\.ConditionalDensity|specs\.EstimatorSpec|"
        r"build\.Blueprint|estimator\.Estimator)",
    ),
    ("py:class", r"mlsbi\.(problem\.Problem|strategies\.base\.Solution|training\.StageResult)"),
    ("py:class", r"mlsbi\.studies\.file\.StudyFile"),
]

html_theme = "furo"
html_title = "mlsbi"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0b5a8a",
        "color-brand-content": "#0b5a8a",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'SF Mono', Menlo, 'DejaVu Sans Mono', monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cb6e4",
        "color-brand-content": "#6cb6e4",
    },
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
