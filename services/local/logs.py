"""Where the logs of a mesh in one process go: a file, for its terminal is the user's."""

from pathlib import Path

from services.runtime import telemetry

MAX_BYTES = 16 << 20


def to_file(home: Path) -> Path:
    """Append logs to `<home>/logs/mesh.log` and return it; one grown large is put aside as `mesh.log.1` first."""
    file = home / "logs" / "mesh.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > MAX_BYTES:
        file.replace(file.with_suffix(".log.1"))
    telemetry.configure_logs(file.open("a", buffering=1))
    return file
