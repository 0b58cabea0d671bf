"""The processes that run Triton's Python models, seen from outside."""

from collections.abc import Iterator
from pathlib import Path

STUB = "triton_python_backend_stub"
ZOMBIE = "Z"

Workers = dict[int, str]


def find_workers(server_pid: int) -> Workers:
    """Living workers of a server: process id -> model. Blocking, some milliseconds."""
    parents = dict(_parents())
    found: Workers = {}
    for pid in parents:
        if server_pid not in _ancestors(pid, parents):
            continue
        try:
            program, *arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):  # it ended between the listing and the look
            continue
        if Path(program).name == STUB:
            found[pid] = Path(arguments[0]).parents[1].name  # .../<model>/<version>/model.py
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Yield every living process with its parent."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command name in brackets may hold anything; state and parent are the two fields after it.
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if state != ZOMBIE:
                yield int(entry.name), int(parent)


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid
