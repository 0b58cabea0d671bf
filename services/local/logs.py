"""Where the logs of a mesh in one process go: a file, for its terminal is the user's."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TextIO, cast

import structlog

MAX_BYTES = 16 << 20


class Log(io.TextIOBase):
    """A file of lines that is put aside as `<name>.1` at a size, so that two of that size is the most there ever is."""

    def __init__(self, file: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = file
        self._max_bytes = max_bytes
        self._turn = Lock()  # structlog and logging each have their own
        self._file = self._opened()

    def write(self, text: str) -> int:
        """Append whole lines. A full disk loses lines, not the servers that write them."""
        data = text.encode(errors="backslashreplace")
        with self._turn, suppress(OSError):
            if self._file.tell() + len(data) > self._max_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                full, self._file = self._file, self._opened()
                full.close()
            self._file.write(data)
        return len(text)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _opened(self) -> io.FileIO:
        return self._path.open("ab", buffering=0)


def path(home: Path) -> Path:
    """Return the log's file; the part before the last rotation is `mesh.log.1`."""
    return home / "logs" / "mesh.log"


@contextmanager
def open_file(home: Path) -> Iterator[TextIO]:
    """Send what this process logs to the file while the body runs.

    The runtime, imported later, takes the file over with `telemetry.configure_logs`; until then the lines are plain.
    """
    file = path(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = cast("TextIO", Log(file))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        root = logging.getLogger()
        for handler in [handler for handler in root.handlers if getattr(handler, "stream", None) is stream]:
            root.removeHandler(handler)
        stream.close()
