"""Runs that are there already: some levels only, spread of run times, joined data, `extend`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from campaign_models import good_batch, good_row, hierarchy
from mlsbi import Hierarchy, Level


def test_a_hierarchy_of_some_levels_keeps_their_order_prior_and_noise():
    def noise(n, generator):
        return torch.rand(n, generator=generator)

    whole = Hierarchy(
        hierarchy(good_row).prior,
        [Level(good_batch, cost=float(i + 1), name=f"level {i}") for i in range(4)],
        noise=noise,
    )
    for levels in ([0, 2], (0, 2), np.array([0, 2]), torch.tensor([0, 2]), range(0, 4, 2)):
        part = whole.subset(levels)
        assert part.levels == (whole.levels[0], whole.levels[2])
        assert part.costs == (1.0, 3.0)
        assert part.prior is whole.prior
        assert not part.row_seeds
        for ours, theirs in zip(
            part.draw(3, torch.Generator().manual_seed(0)),
            whole.draw(3, torch.Generator().manual_seed(0)),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
    assert whole.subset([3]).num_levels == 1
    assert whole.subset(range(4)).levels == whole.levels


@pytest.mark.parametrize(
    ("levels", "error", "message"),
    [
        (1, TypeError, "levels must be list or tuple or range; got int.*such as"),
        ("01", TypeError, "levels must be .*got str"),
        ([], ValueError, "levels must have at least one entry; got none"),
        ([0.0], TypeError, "level must be an integer"),
        ([True], TypeError, "level must be an integer"),
        ([0, 2], ValueError, "level must be below 2; got 2"),
        ([-1], ValueError, "level must be at least 0"),
        ([1, 0], ValueError, r"levels must be ascending and distinct; got \[1, 0\]"),
        ([1, 1], ValueError, r"levels must be ascending and distinct; got \[1, 1\]"),
    ],
)
def test_levels_that_make_no_hierarchy_are_refused(levels, error, message):
    with pytest.raises(error, match=message):
        hierarchy(good_row, good_row).subset(levels)
