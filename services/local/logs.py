"""Where the logs of a mesh in one process go: a file, for its terminal is the user's."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import structlog

MAX_BYTES = 16 << 20


def path(home: Path) -> Path:
    """Return the log's file; the part before the last rotation is `mesh.log.1`."""
    return home / "logs" / "mesh.log"


@contextmanager
def open_file(home: Path) -> Iterator[TextIO]:
    """Send what this process logs to the file while the body runs; one grown large is put aside first.

    The runtime, imported later, takes the file over with `telemetry.configure_logs`; until then the lines are plain.
    """
    file = path(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > MAX_BYTES:
        file.replace(file.with_suffix(".log.1"))
    stream = file.open("a", buffering=1)
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
