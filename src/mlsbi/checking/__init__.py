"""Whether a fit can be believed: scores of runs that it has not seen, and what they say."""

from __future__ import annotations
