"""Where the logs of a mesh in one process go: a file, for its terminal is the user's."""

from pathlib import Path
from typing import TextIO

import structlog

MAX_BYTES = 16 << 20


def path(home: Path) -> Path:
    """Return the log's file; the part before the last rotation is `mesh.log.1`."""
    return home / "logs" / "mesh.log"


def open_file(home: Path) -> TextIO:
    """Open the file to append to, put aside first when it has grown large, and send what is logged there.

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
    return stream
