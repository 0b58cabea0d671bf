"""Engines on the disk: `<build>/engines/<component>/<key>.plan`, beside it `<key>.json` that tells how it came about.

`promoted.json` names the one plan that is run on each kind of GPU with each version of a library. All of it appears by
rename: a reader sees the old or the new, never half of either.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from services.models.digests import sha256_file
from services.models.serving.engine import PROMOTED, place
from services.models.tensorrt.key import EngineKey

ENGINES = "engines"


class Status(StrEnum):
    """How far an engine is; only what was promoted is ever run for callers.

    VERIFIED passed the gate too, and stands back for one that was promoted after it.
    """

    BUILT = "built"
    VERIFIED = "verified"
    PROMOTED = "promoted"
    FAILED = "failed"


@dataclass(frozen=True)
class Record:
    """What went into an engine and what came of it; `sha256` is the plan's.

    `error` is its largest difference from the reference, as `services.models.parity` measures it, and `tolerance` what
    was allowed; None before a GPU of its kind has run it. `detail` says what is wrong or still to do.
    """

    component: str
    name: str
    sm: int
    library: str
    version: str
    precision: str
    profiles: dict[str, dict[str, list[int]]]
    weights: str
    seconds: float
    size_bytes: int
    sha256: str
    status: Status
    detail: str = ""
    error: float | None = None
    tolerance: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it can run."""
        return place(self.sm, self.library, self.version)


def new_record(
    component: str, key: EngineKey, engine: bytes, *, seconds: float, warnings: tuple[str, ...]
) -> Record:
    """Return the record of an engine that was just built."""
    return Record(
        component=component,
        name=key.name,
        sm=key.sm,
        library=key.library,
        version=key.version,
        precision=key.precision.value,
        profiles={
            name: {"min": list(each.min), "opt": list(each.opt), "max": list(each.max)}
            for name, each in key.profiles.items()
        },
        weights=key.weights,
        seconds=round(seconds, 2),
        size_bytes=len(engine),
        sha256=hashlib.sha256(engine).hexdigest(),
        status=Status.BUILT,
        warnings=warnings,
    )


class Store:
    """The engines of one build."""

    def __init__(self, build: Path) -> None:
        self.directory = build / ENGINES

    def plan(self, record: Record) -> Path:
        """Where a record's plan lies."""
        return self.directory / record.component / f"{record.name}.plan"

    def find(self, component: str, key: EngineKey) -> Record | None:
        """Return the record of an engine that was built before from all the same, and is as it was built."""
        record = _read(self.directory / component / f"{key.name}.json")
        return record if record and self.is_whole(record) else None

    def is_whole(self, record: Record) -> bool:
        """Tell whether a record's plan is the file that was built."""
        plan = self.plan(record)
        return plan.is_file() and sha256_file(plan) == record.sha256

    def records(self) -> Iterator[Record]:
        """Yield every engine of the build, in the order in which they were built."""
        plans = sorted(self.directory.glob("*/sm*.plan"), key=lambda path: path.stat().st_mtime_ns)
        yield from filter(None, (_read(plan.with_suffix(".json")) for plan in plans))

    def add(self, record: Record, engine: bytes) -> None:
        """Keep an engine that was just built."""
        plan = self.plan(record)
        plan.parent.mkdir(parents=True, exist_ok=True)
        _write(plan, engine)
        _write(plan.with_suffix(".json"), _json(record))

    def note(self, record: Record, detail: str) -> Record:
        """Say of an engine what is still to do."""
        noted = replace(record, detail=detail)
        self._rewrite(noted)
        return noted

    def promote(self, record: Record, error: float, tolerance: float) -> Record:
        """Let an engine be run, in place of what was run on such machines before."""
        proved = replace(record, status=Status.PROMOTED, detail="", error=error, tolerance=tolerance)
        promoted = self.promoted(record.component)
        for other in self.records():  # what stands back now was proved too, but is not what runs
            if other.component == record.component and other.name == promoted.get(
                record.place, ""
            ).removesuffix(".plan"):
                self._rewrite(replace(other, status=Status.VERIFIED, detail=f"{record.name} is run instead"))
        self._rewrite(proved)
        self._point(record.component, promoted | {record.place: self.plan(record).name})
        return proved

    def fail(
        self, record: Record, detail: str, error: float | None = None, tolerance: float | None = None
    ) -> Record:
        """Keep an engine that must not be run, with the reason, and run it no more."""
        failed = replace(record, status=Status.FAILED, detail=detail, error=error, tolerance=tolerance)
        self._rewrite(failed)
        promoted = self.promoted(record.component)
        if promoted.get(record.place) == self.plan(record).name:
            del promoted[record.place]
            self._point(record.component, promoted)
        return failed

    def promoted(self, component: str) -> dict[str, str]:
        """Return the plans that are run, by the place they run in."""
        try:
            plans: dict[str, str] = json.loads(
                (self.directory / component / PROMOTED).read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        return plans

    def _rewrite(self, record: Record) -> None:
        _write(self.plan(record).with_suffix(".json"), _json(record))

    def _point(self, component: str, plans: dict[str, str]) -> None:
        path = self.directory / component / PROMOTED
        if plans:
            _write(path, (json.dumps(plans, indent=2, sort_keys=True) + "\n").encode())
        else:
            path.unlink(missing_ok=True)


def _json(record: Record) -> bytes:
    return (json.dumps(asdict(record), indent=2) + "\n").encode()


def _read(path: Path) -> Record | None:
    """None for a record that is not there, or that another version of this module wrote: the engine is built again."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Record(**fields | {"status": Status(fields["status"]), "warnings": tuple(fields["warnings"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
