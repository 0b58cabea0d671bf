"""Install what tests need beyond the `dev` extra, unless it is there: what trains, exports and builds engines.

It is left out of `dev` because nothing that serves needs it and torch's default build is gigabytes.
"""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("train", "export", "tensorrt-rtx", "postgres")
PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def missing(requirement: str) -> bool:
    """Return whether a requirement's package is not installed, in whatever version."""
    try:
        version(Requirement(requirement).name)
    except PackageNotFoundError:
        return True
    return False


def main() -> None:
    """Install the missing ones."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    requirements = sorted({requirement for extra in EXTRAS for requirement in extras[extra]})
    if wanted := [requirement for requirement in requirements if missing(requirement)]:
        print("installing for the tests:", ", ".join(wanted), flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)


if __name__ == "__main__":
    main()
