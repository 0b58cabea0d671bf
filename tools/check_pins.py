"""Check that what is installed is what pyproject.toml pins.

protobuf is silently downgraded when tritonclient is installed after the grpcio helpers; then servers fail at import
with words that name neither. This names both.
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def wrong(requirement: Requirement) -> str:
    """Return what is wrong with a requirement's installation, or nothing."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed):
        return ""
    return f"{requirement.name} is {installed}, pinned {requirement.specifier}"


def main() -> None:
    """Compare; exit 1 naming every package that differs."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    pinned = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    if problems := [problem for line in pinned if (problem := wrong(Requirement(line)))]:
        sys.exit("run `make setup`:\n  " + "\n  ".join(problems))


if __name__ == "__main__":
    main()
