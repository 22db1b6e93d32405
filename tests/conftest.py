"""Rules that hold for every test: seeded test code, untouched global settings, markers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zuko  # noqa: F401  its import switches validate_args off: before the guard looks
from torch.distributions import Distribution

DATA_VARIABLE = "MLSBI_DATA"
left_out = pytest.StashKey[list[str]]()

# One thread: small matrices gain nothing from more, and machines are shared.
torch.set_num_threads(1)


def global_settings() -> dict[str, object]:
    """The settings of torch that belong to the user, and that no test may leave changed."""
    return {
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "Distribution validate_args": Distribution._validate_args,
    }


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed what test code may draw from; the library itself never uses these generators."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _global_settings_kept() -> Iterator[None]:
    before = global_settings()
    yield
    after = global_settings()
    torch.set_default_dtype(before["torch.get_default_dtype()"])
    torch.set_num_threads(before["torch.get_num_threads()"])
    Distribution.set_default_validate_args(before["Distribution validate_args"])
    changed = [f"{k}: {v} -> {after[k]}" for k, v in before.items() if v != after[k]]
    if changed:
        pytest.fail("the test left global settings changed: " + "; ".join(changed))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the real data sets (`camels/` is in it), for tests marked `data`."""
    return Path(os.environ[DATA_VARIABLE])


@pytest.hookimpl(trylast=True)  # after -m and -k, so that only what would have run is counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked `data`, `gpu` or `browser` where what they need is not there."""
    config.stash[left_out] = []
    if not torch.cuda.is_available():
        _leave_out("gpu", "they need a CUDA device", config, items)
    _without_browser(config, items)
    needing_data = [item for item in items if item.get_closest_marker("data")]
    folder = os.environ.get(DATA_VARIABLE)
    if not needing_data:
        return
    if folder:
        if not Path(folder).is_dir():
            raise pytest.UsageError(f"{DATA_VARIABLE}={folder} is not a folder")
        return
    if os.environ.get("CI") == "true":
        raise pytest.UsageError(
            f"CI=true wants the tests marked data to run: set {DATA_VARIABLE} to the data folder"
        )
    _leave_out("data", f"set {DATA_VARIABLE}=FOLDER", config, items)


def _without_browser(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if not missing or not any(item.get_closest_marker("browser") for item in items):
        return
    need = f"install {' and '.join(missing)} (Debian: apt-get install chromium chromium-driver)"
    if os.environ.get("CI") == "true":
        raise pytest.UsageError(f"CI=true wants the tests marked browser to run: {need}")
    _leave_out("browser", need, config, items)


def _leave_out(marker: str, why: str, config: pytest.Config, items: list[pytest.Item]) -> None:
    gone = [item for item in items if item.get_closest_marker(marker)]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if not item.get_closest_marker(marker)]
        config.stash[left_out].append(f"{len(gone)} tests marked {marker}; {why}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which tests were left out, and how to run them."""
    for line in config.stash.get(left_out, []):
        terminalreporter.write_line(f"left out: {line}")
