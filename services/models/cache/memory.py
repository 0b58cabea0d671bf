"""How much memory there is for models, and how much a model's processes hold: of the GPU where there is one, else RAM.

Everything here is seen from outside and blocks for some milliseconds. Without Triton's process id (a Triton on another
machine) nothing can be measured, and the catalogue's figures stand alone.
"""

import csv
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from services.runtime.workers import find_workers

MEBIBYTE = 1 << 20
# What is left to the mesh's own servers, to the pictures in flight and to Triton itself.
RAM_SHARE = 0.6
GPU_SHARE = 0.9
SMI_SECONDS = 10.0

Held = Callable[[Iterable[int]], dict[int, int]]


@dataclass(frozen=True, slots=True)
class Measured:
    """What Triton's processes hold, in bytes: each loaded model's workers together, and the server itself."""

    pid: int
    models: dict[str, int]
    server: int


@dataclass(frozen=True)
class Meter:
    """Measures the Triton whose process id stands in `pid_file`, by `held`."""

    pid_file: Path | None
    held: Held

    def pid(self) -> int | None:
        """Return Triton's process id, or None when it is not known or no such process lives here."""
        if self.pid_file is None:
            return None
        try:
            pid = int(self.pid_file.read_text())
        except (OSError, ValueError):
            return None
        return pid if Path(f"/proc/{pid}").exists() else None

    def measure(self) -> Measured | None:
        """Return what is held now, or None when there is no Triton here."""
        pid = self.pid()
        if pid is None:
            return None
        workers = find_workers(pid)
        held = self.held([*workers, pid])
        models: dict[str, int] = dict.fromkeys(workers.values(), 0)
        for worker, model in workers.items():
            models[model] += held.get(worker, 0)
        return Measured(pid, models, held.get(pid, 0))


def resident(pids: Iterable[int]) -> dict[int, int]:
    """Bytes of RAM by process that nothing else has and only its end gives back: its anonymous resident memory.

    Files that it maps, such as libraries, are shared and can be read again; the kernel drops them when it is short.
    """
    found = {}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # ended
            continue
        found[pid] = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
    return found


def on_device(pids: Iterable[int]) -> dict[int, int]:
    """Bytes of GPU memory by process, over all devices; empty in a container that sees other process ids."""
    wanted, found = set(pids), dict[int, int]()
    for row in _smi("--query-compute-apps=pid,used_memory"):
        if len(row) == 2 and row[0].isdigit() and row[1].isdigit() and int(row[0]) in wanted:
            found[int(row[0])] = found.get(int(row[0]), 0) + int(row[1]) * MEBIBYTE
    return found


def device_bytes() -> int:
    """Memory of this machine's smallest GPU in bytes, as a model runs on one of them; 0 without a GPU or its driver."""
    sizes = [int(row[0]) * MEBIBYTE for row in _smi("--query-gpu=memory.total") if row[0].isdigit()]
    return min(sizes, default=0)


def ram_bytes(root: Path = Path("/")) -> int:
    """Memory that processes here may use: the machine's, or the container's limit when that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (root / "sys/fs/cgroup/memory.max", root / "sys/fs/cgroup/memory/memory.limit_in_bytes")
    return min([machine, *(limit for path in limits if (limit := _limit(path)))])


def choose(memory_mib: int | None, pid_file: Path | None) -> tuple[int, Meter]:
    """Return the budget in bytes (`memory_mib`, or a share of what there is) and what measures against it."""
    device = device_bytes()
    available = device * GPU_SHARE if device else ram_bytes() * RAM_SHARE
    budget = memory_mib * MEBIBYTE if memory_mib is not None else int(available)
    return budget, Meter(pid_file, on_device if device else resident)


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _smi(query: str) -> list[list[str]]:
    """Rows of what NVIDIA's tool answers; none without the tool, or when the driver does not answer it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, query, "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(  # noqa: S603 - found on PATH, arguments of our own
            command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [row for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True) if row]
