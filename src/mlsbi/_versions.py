"""Versions of what results depend upon, read without importing it."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

__all__ = ["versions"]

_PACKAGES = ("torch", "sbi", "zuko", "numpy", "scipy", "zarr", "distributed")


def versions() -> dict[str, str]:
    """Names and versions: of mlsbi, Python, what mlsbi stands on, and the platform."""
    found = {"mlsbi": _version("mlsbi"), "python": platform.python_version()}
    found |= {name: _version(name) for name in _PACKAGES}
    return found | {"platform": platform.platform(), "cuda": _cuda()}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cuda() -> str:
    """Whether torch can use a GPU; it is asked if it is there already."""
    torch = sys.modules.get("torch")
    if torch is None:
        return "not looked for"
    if not torch.cuda.is_available():
        return "not available"
    return f"{torch.version.cuda}: {torch.cuda.get_device_name(0)}"
