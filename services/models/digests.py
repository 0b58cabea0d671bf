"""SHA-256 of files, remembered: a file of gigabytes whose size and time of change are the same is not read again."""

import hashlib
import json
import os
from pathlib import Path


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, memory: Path) -> str:
    """Hex SHA-256 of a file, from `memory` (a directory, one small file per path) when the file has not changed since.

    Meant for large files that somebody brought; a file changed within its clock's tick and size would be missed.
    """
    whole = path.resolve()
    status = whole.stat()
    stamp = [str(whole), status.st_size, status.st_mtime_ns]
    note = memory / f"{hashlib.sha256(str(whole).encode()).hexdigest()[:32]}.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing is remembered, or nothing readable: it is only a memory
    digest = sha256_file(whole)
    memory.mkdir(parents=True, exist_ok=True)
    fresh = note.with_name(f".{note.name}.{os.getpid()}")
    fresh.write_text(json.dumps({"stamp": stamp, "sha256": digest}), encoding="utf-8")
    fresh.replace(note)
    return digest
