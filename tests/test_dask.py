"""A cluster of Dask workers that are killed all the time."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time

import distributed
import pytest

from campaign_models import good_row, hierarchy, same
from mlsbi import simulate


def slow_row(theta, seed):
    time.sleep(0.01)
    return good_row(theta, seed)


@pytest.fixture
def cluster():
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        yield cluster


def worker_pids(cluster):
    return [worker.pid for worker in cluster.workers.values() if worker.pid]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask's own, while its workers die
def test_workers_that_are_killed_cost_time_only(cluster, tmp_path):
    store, dice, over, kills = tmp_path / "run.zarr", random.Random(0), threading.Event(), []

    def shoot():
        while not over.wait(7.0):
            pid = dice.choice(worker_pids(cluster))
            os.kill(pid, signal.SIGKILL)
            kills.append(pid)

    own = hierarchy(slow_row, slow_row)
    with distributed.Client(cluster) as client:
        gun = threading.Thread(target=shoot, daemon=True)
        gun.start()
        try:
            data = simulate(own, (2000, 200), seed=0, store=store, executor=client)
        finally:
            over.set()
            gun.join()
        again = simulate(own, (2000, 250), seed=0, store=store, executor=client.get_executor())
    assert len(kills) >= 2
    assert same(data, simulate(hierarchy(good_row, good_row), (2000, 200), seed=0))
    assert same(again, simulate(hierarchy(good_row, good_row), (2000, 250), seed=0))
