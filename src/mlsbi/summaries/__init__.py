"""Summaries of large x, learned on the cheapest level: what strategies see in place of x."""

from __future__ import annotations

from mlsbi.summaries.learn import Learned, Learner, is_wanted
from mlsbi.summaries.posterior_mean import PosteriorMean
from mlsbi.summaries.ridge import Ridge
from mlsbi.summaries.summary import Summary

__all__ = ["Learned", "Learner", "PosteriorMean", "Ridge", "Summary", "is_wanted"]
