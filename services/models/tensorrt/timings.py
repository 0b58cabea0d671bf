"""What a builder measured of kernels, kept so that the next build of the same kind need not measure it again."""

import os
from pathlib import Path

from services.models.tensorrt.api import Library


def timings_path(home: Path, sm: int, library: Library) -> Path:
    """Return where timings are kept: apart for each kind of GPU and version, since they hold for no other."""
    return home / "engines" / "timing" / f"sm{sm}-{library.name}-{library.version}.cache"


def read_timings(home: Path, sm: int, library: Library) -> bytes:
    """Return what was kept; empty when there is nothing."""
    try:
        return timings_path(home, sm, library).read_bytes()
    except FileNotFoundError:
        return b""


def keep_timings(home: Path, sm: int, library: Library, timings: bytes) -> None:
    """Keep what a build ended with, which holds what it began with too."""
    path = timings_path(home, sm, library)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_bytes(timings)
    fresh.replace(path)
