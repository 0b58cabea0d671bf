"""The processes that run Triton's Python models, seen from outside.

Triton itself does not notice when one dies: it goes on calling the model ready and fails every request
to it. So the supervisor counts them.
"""

from collections import Counter
from pathlib import Path

from services.local.triton.guard import descendants

STUB = "triton_python_backend_stub"
ZOMBIE = "Z"

Workers = dict[int, str]


def find_workers(server_pid: int) -> Workers:
    """Living workers of a server: process id -> model. Blocking, some milliseconds."""
    found: Workers = {}
    for pid in descendants(server_pid):
        try:
            program, *arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):  # it ended between the listing and the look
            continue
        if Path(program).name == STUB and state != ZOMBIE:
            found[pid] = Path(arguments[0]).parents[1].name  # .../<model>/<version>/model.py
    return found


def models_short_of_workers(before: Workers, now: Workers) -> set[str]:
    """Models that have fewer workers than before."""
    have = Counter(now.values())
    return {model for model, count in Counter(before.values()).items() if have[model] < count}
