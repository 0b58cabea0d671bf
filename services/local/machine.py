"""Findings about the machine: Python, packages, Triton's wheel and libraries, memory, disk, ports."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from services.local.findings import Finding, advice, fine, missing

DISTRIBUTION = "visual-mesh"
PYTHON = ((3, 11), (3, 14))  # from, and below
GIB = 1 << 30
MEMORY = 2 * GIB  # Triton with every model takes about 1.2 GiB, the servers 0.4
DISK = 1 * GIB  # models take 0.3 GiB; the rest is for pictures
SHARED_MEMORY = 128 << 20  # Triton's Python backend keeps 1 MiB a model there and grows with pictures
SHARED_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - looked at, not written to
LDD_SECONDS = 20
REINSTALL = "make setup   (or: pip install --editable .)"


def python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    """Look at the interpreter."""
    told = ".".join(map(str, version))
    low, high = PYTHON
    if low <= version < high:
        yield fine("python", told)
    else:
        wanted = f"{low[0]}.{low[1]} to {high[0]}.{high[1] - 1}"
        yield missing(
            "python", f"{told}; Triton's backend wants {wanted}", f"make setup PYTHON=python{low[0]}.{low[1]}"
        )


def packages(distribution: str = DISTRIBUTION) -> Iterator[Finding]:
    """Compare what is installed with the pinned set."""
    try:
        required = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        yield missing("packages", f"{distribution} is not installed", REINSTALL)
        return
    wrong = []
    pins = [pin for requirement in required if (pin := _pin(requirement))]
    for name, wanted in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "nothing"
        if found != wanted:
            wrong.append(f"{name} {wanted} is wanted, {found} is here")
    if wrong:
        yield missing("packages", "; ".join(wrong), REINSTALL)
    else:
        yield fine("packages", f"{len(pins)} as pinned")


def _pin(requirement: str) -> tuple[str, str] | None:
    """Return the name and version of a pinned requirement; None for one of an extra."""
    found = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^;\s]+)\s*(;.*)?$", requirement)
    if not found or "extra" in (found[3] or ""):
        return None
    return found[1], found[2]


def triton() -> Iterator[Finding]:
    """Look for Triton's server, its Python backend for this interpreter, and the libraries that they load."""
    try:
        from services.local.triton.install import TritonNotInstalledError, environment, find_install
    except ImportError as error:
        yield missing("triton", f"its supervisor cannot be imported: {error}", REINSTALL)
        return
    try:
        install = find_install()
    except TritonNotInstalledError as error:
        yield missing("triton", str(error), REINSTALL)
        return
    yield fine(
        "triton", f"wheel {install.version}, backend for Python {sys.version_info[0]}.{sys.version_info[1]}"
    )
    ldd = shutil.which("ldd")
    if ldd is None:
        yield advice("libraries", "not looked at: there is no ldd", "apt-get install libc-bin")
        return
    absent: set[str] = set()
    for program in (install.binary, install.stub):
        run = subprocess.run(  # noqa: S603 - ldd, on the wheel's own programs
            [ldd, str(program)],
            env=environment(install),
            capture_output=True,
            text=True,
            timeout=LDD_SECONDS,
            check=False,
        )
        absent |= set(re.findall(r"^\s*(\S+) => not found", run.stdout, re.MULTILINE))
    if absent:
        wanted = ", ".join(sorted(absent))
        yield missing(
            "libraries",
            f"not found: {wanted}",
            "apt-get install the packages that hold them (apt-file search)",
        )
    else:
        yield fine("libraries", "all that Triton loads are here")


def tools() -> Iterator[Finding]:
    """Look for what only those who change the mesh need."""
    buf = Path(sys.executable).with_name("buf")
    if buf.exists() or shutil.which("buf"):
        yield fine("buf", "here, for whoever changes the contracts")
    else:
        yield advice("buf", "not here; only `make check` needs it", "pip install --editable '.[dev]'")


def memory(meminfo: Path = Path("/proc/meminfo")) -> Iterator[Finding]:
    """Look at the memory that is free for the mesh, and at shared memory."""
    try:
        available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
    except OSError:
        available = None
    if available:
        free = int(available[1]) * 1024
        told = f"{free / GIB:.1f} GiB available"
        if free < MEMORY:
            yield advice("memory", f"{told}; the mesh wants {MEMORY // GIB}", "stop something else")
        else:
            yield fine("memory", told)
    yield from _room(
        "shared memory", SHARED_MEMORY_FOLDER, SHARED_MEMORY, "mount -o remount,size=1G /dev/shm"
    )


def disk(home: Path) -> Iterator[Finding]:
    """Look at the mesh's folder and the room that it has."""
    nearest = next((folder for folder in (home, *home.parents) if folder.exists()), Path("/"))
    if not os.access(nearest, os.W_OK):
        yield missing("home", f"{home} cannot be written", "set VMESH_HOME to a folder of yours")
        return
    yield from _room("disk", nearest, DISK, "free some space, or set VMESH_HOME to a roomier disk")


def _room(name: str, folder: Path, wanted: int, remedy: str) -> Iterator[Finding]:
    if not folder.exists():
        yield missing(name, f"{folder} is not there", remedy)
        return
    free = shutil.disk_usage(folder).free
    told = f"{free / GIB:.1f} GiB free in {folder}"
    if free < wanted:
        yield missing(name, f"{told}; {wanted / GIB:g} are wanted", remedy)
    else:
        yield fine(name, told)


def port(listen: str, ours: str = "") -> Iterator[Finding]:
    """Look whether the gateway's port is free; `ours` is where a mesh of this home already listens."""
    host, _, number = listen.rpartition(":")
    if ours == listen:
        yield fine("port", f"{listen} is held by the mesh that runs")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(number)))
        except OSError as error:
            remedy = f"another port will be taken; choose one: vmesh up --listen {host}:0"
            yield advice("port", f"{listen} cannot be bound: {error.strerror}", remedy)
        else:
            yield fine("port", f"{listen} is free")
