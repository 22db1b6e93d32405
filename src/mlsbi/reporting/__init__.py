"""A report of a fit as one HTML file.

What it is about (`subject`, `draws`) becomes sections (`summary`, `study`, `posterior`, `trust`,
`observation`, `training`, `reproduce`) of sentences (`words`), tables (`markup`) and pictures
(`pictures`), and they a page (`page`, `style.css`, `script.js`).
"""

from __future__ import annotations

from mlsbi.reporting.write import report

__all__ = ["report"]
