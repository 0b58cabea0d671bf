"""Finding the server in its wheel, and laying out the Python backend for the running interpreter."""

import os
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

WHEEL = "nvidia-pytriton"


class TritonNotInstalledError(Exception):
    """The wheel, or the part of it that this interpreter needs, is missing; the text says what to install."""


@dataclass(frozen=True)
class TritonInstall:
    """Paths inside the wheel, and the directories its programs load libraries from."""

    binary: Path
    backend: Path
    stub: Path
    libraries: tuple[Path, ...]
    version: str


def find_install() -> TritonInstall:
    """Locate the wheel's server. Raises TritonNotInstalledError."""
    try:
        distribution = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError as error:
        raise TritonNotInstalledError(f"Triton is not installed: run `pip install {WHEEL}`") from error
    site = Path(str(distribution.locate_file("")))
    root = site / "pytriton" / "tritonserver"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    install = TritonInstall(
        binary=root / "bin" / "tritonserver",
        backend=root / "backends" / "python",
        stub=root / "python_backend_stubs" / python / "triton_python_backend_stub",
        libraries=(site / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR"))),
        version=distribution.version,
    )
    if not install.stub.is_file():
        known = sorted(path.name for path in (root / "python_backend_stubs").glob("*"))
        raise TritonNotInstalledError(
            f"{WHEEL} {install.version} has no backend for Python {python}; use one of: {', '.join(known) or 'none'}"
        )
    for path in (install.binary, install.backend / "libtriton_python.so"):
        if not path.is_file():
            raise TritonNotInstalledError(
                f"{WHEEL} {install.version} is incomplete, {path.name} is missing: "
                f"run `pip install --force-reinstall {WHEEL}=={install.version}`"
            )
    return install


def stage_backends(install: TritonInstall, home: Path) -> Path:
    """Lay out `<home>/triton/backends/python` as links into the wheel; returns the backend directory."""
    directory = home / "triton" / "backends"
    python = directory / "python"
    python.mkdir(parents=True, exist_ok=True)
    parts = [path for path in install.backend.iterdir() if path.is_file()]
    for target in (*parts, install.stub):
        link = python / target.name
        if not link.is_symlink() or link.readlink() != target:
            fresh = link.with_name(f".{link.name}.{os.getpid()}")
            fresh.symlink_to(target)
            fresh.replace(link)
    return directory


def environment(install: TritonInstall) -> dict[str, str]:
    """The server's environment: its libraries, and this interpreter's packages for the models' processes."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    return kept | {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, install.libraries)),
        # The models' processes embed an isolated Python, which ignores PYTHONPATH and PYTHONHOME and finds
        # its environment from the first `python3` on PATH alone.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }
