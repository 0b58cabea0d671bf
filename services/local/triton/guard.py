"""Runs one command so that nothing of it outlives whoever asked for it. Standard library only.

    python -I -S guard.py LOG_FILE MAX_BYTES GRACE_SECONDS SHM_PREFIX COMMAND...

Standard input is the leash: when its other end closes, however the parent died, the command and all
its descendants are killed at once. SIGTERM asks the command to end and kills what is left after the
grace. The guard adopts orphans (PR_SET_CHILD_SUBREAPER), so that a server killed hard does not leave
its workers; should the guard itself be killed, the kernel kills the command (PR_SET_PDEATHSIG).

The first line on standard output is the command's process id. The command's output goes to LOG_FILE,
which is moved to LOG_FILE.1 when it reaches MAX_BYTES. The exit status is the command's own.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ORPHAN_CHECK_S = 1.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


class Log:
    """A file that is moved aside at a size, so that two of that size is the most there ever is."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append, moving the file aside first when it is full. A full disk loses lines, not the server."""
        try:
            if self.file.tell() >= self.max_bytes:
                self.file.close()
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                self.file = self.path.open("ab", buffering=0)
            self.file.write(data)
        except OSError:
            pass


def descendants(root: int) -> list[int]:
    """Process ids below `root`, nearest first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command name in brackets may hold anything; the parent is the second field after it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def kill_descendants() -> None:
    """Kill and reap until no descendant is left; bounded, as an unkillable one must not hold up the rest."""
    for _ in range(100):
        alive = descendants(os.getpid())
        if not alive:
            return
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap()
        time.sleep(0.02)


def reap() -> dict[int, int]:
    """Collect every child that has ended: process id -> exit code (128 + signal for a killed one)."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[pid] = code if code >= 0 else 128 - code


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start the command; the kernel kills it when this process dies."""
    libc, guard = ctypes.CDLL(None, use_errno=True), os.getpid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def die_with_guard() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # it died before the line above
            os._exit(1)

    return subprocess.Popen(  # noqa: S603 - the command is the caller's own
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_guard,
    )


def guard(command: list[str], log: Log, grace: float) -> int:
    """Run the command to its end or to the end of the leash; returns the exit status."""
    parent, wake = os.getppid(), os.pipe()
    for end in wake:
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake[1])
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # the number arrives through the pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = start(command)
    assert child.stdout is not None
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()
    leash, output = sys.stdin.fileno(), child.stdout.fileno()
    selector = selectors.DefaultSelector()
    for source in (leash, output, wake[0]):
        selector.register(source, selectors.EVENT_READ)
    kill_at = float("inf")
    while True:
        ready = {
            key.fd for key, _ in selector.select(min(ORPHAN_CHECK_S, max(kill_at - time.monotonic(), 0)))
        }
        if output in ready:
            data = os.read(output, 1 << 16)
            log.write(data)
            if not data:
                selector.unregister(output)
        if wake[0] in ready and signal.SIGTERM in os.read(wake[0], 1 << 10) and kill_at == float("inf"):
            os.kill(child.pid, signal.SIGTERM)  # not Popen's own: that would reap it behind our back
            kill_at = time.monotonic() + grace
        # The pipe may be held open by another child of the parent, so its id is watched as well.
        if (
            (leash in ready and not os.read(leash, 1))
            or os.getppid() != parent
            or time.monotonic() >= kill_at
        ):
            return 128 + signal.SIGKILL
        ended = reap()
        if child.pid in ended:
            os.set_blocking(output, False)
            with contextlib.suppress(BlockingIOError):
                log.write(os.read(output, 1 << 20))
            return ended[child.pid]


def main() -> int:
    """Run the command named by the arguments, then clear up after it."""
    log_file, max_bytes, grace, shm_prefix, *command = sys.argv[1:]
    try:
        return guard(command, Log(Path(log_file), int(max_bytes)), float(grace))
    finally:
        kill_descendants()
        for left in SHARED_MEMORY.glob(f"{shm_prefix}*"):
            left.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
