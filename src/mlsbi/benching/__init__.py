"""`mlsbi bench`: tasks x budgets x strategies x seeds, and the figures of the paper made anew."""
