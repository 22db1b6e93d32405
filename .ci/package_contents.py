"""What is in the distributions in a folder: python .ci/package_contents.py DIST."""

from __future__ import annotations

import re
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def sources() -> set[str]:
    """Every file of the package, as the wheel should name it."""
    folder = ROOT / "src"
    files = (f for f in (folder / "mlsbi").rglob("*") if f.is_file())
    names = {f.relative_to(folder).as_posix() for f in files}
    return {name for name in names if "__pycache__" not in name}


def check_wheel(path: Path) -> list[str]:
    """Faults of a wheel."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        info = next(n for n in names if n.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(wheel.read(info), validate=True)
        points = wheel.read(info.replace("METADATA", "entry_points.txt")).decode()
    inside = {name for name in names if ".dist-info/" not in name}
    faults = [f"not in the wheel: {name}" for name in sorted(sources() - inside)]
    faults += [f"should not be in the wheel: {name}" for name in sorted(inside - sources())]
    if "mlsbi = mlsbi.cli:app" not in points:
        faults.append(f"the command mlsbi is not among the entry points: {points!r}")
    return faults + check_metadata(metadata)


def check_metadata(metadata: Metadata) -> list[str]:
    """Faults of what an index shows of the package."""
    module = (ROOT / "src/mlsbi/__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.+)"$', module, re.MULTILINE)
    citation = re.search(
        r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
    )
    wanted = {
        "the version of the module": (str(metadata.version), version and version[1]),
        "the version in CITATION.cff": (str(metadata.version), citation and citation[1].strip('"')),
        "the extras": (
            sorted(metadata.provides_extra or []),
            sorted(PROJECT["optional-dependencies"]),
        ),
        "the README as description": (
            (metadata.description or "").strip(),
            (ROOT / "README.md").read_text(encoding="utf-8").strip(),
        ),
        "its type": (metadata.description_content_type, "text/markdown"),
        "the licence": (metadata.license_expression, "MIT"),
    }
    return [f"{name}: {got} is not {want}" for name, (got, want) in wanted.items() if got != want]


def check_sdist(path: Path) -> list[str]:
    """Faults of a source distribution."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f"src/{name}" for name in sources()}
    wanted |= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    faults = [f"not in the source distribution: {name}" for name in sorted(wanted - names)]
    loose = {name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))}
    return faults + [f"should not be in it: {name}" for name in sorted(loose)]


def main(folder: Path) -> int:
    """Print the faults, and say whether there are any."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    faults = check_wheel(wheel) + check_sdist(sdist)
    print("\n".join(faults) if faults else f"{wheel.name} and {sdist.name}: complete")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
