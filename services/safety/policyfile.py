"""The policy file: read with the line of what is wrong in it, and read again when it has changed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path

import structlog
import yaml

from services.safety.normalisation import Disguises
from services.safety.policy import PolicyError
from services.safety.policybook import PolicyBook, TenantPolicy

SHIPPED = Path(str(files(__package__).joinpath("policy.yaml")))

Stamp = tuple[int, int, int]

log = structlog.get_logger()


def load_book(path: Path | None, disguises: Disguises) -> PolicyBook:
    """Read the shipped policy or the operator's file; raises ValueError with file, line, entry and rule."""
    return _parse(path or SHIPPED, (path or SHIPPED).read_text("utf-8"), disguises)


class PolicyFile:
    """The policies in force. A change that is wrong is told in the log once, and the policies before it stay."""

    def __init__(self, path: Path | None, disguises: Disguises) -> None:
        self._path = path
        self._disguises = disguises
        self._stamp = _stamp(path) if path else None
        self.book = load_book(path, disguises)

    def of(self, tenant: str) -> TenantPolicy:
        """Return what holds for a tenant now."""
        return self.book.of(tenant)

    @asynccontextmanager
    async def watched(self, every_seconds: float) -> AsyncIterator["PolicyFile"]:
        """Look for changes while the block runs; the shipped policy does not change."""
        if self._path is None:
            yield self
            return
        watcher = asyncio.create_task(self._watch(every_seconds), name="safety-policy")
        try:
            yield self
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self, every_seconds: float) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the file again if it is another one than it was."""
        if self._path is None:
            return
        try:
            stamp = _stamp(self._path)
        except OSError as error:
            if self._stamp is not None:
                log.error("policy cannot be read, the one before it stays", cause=str(error))
            self._stamp = None  # so that it is read when it is there again
            return
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.book = load_book(self._path, self._disguises)
        except Exception as error:  # whatever is wrong with it, what held before holds on
            cause = str(error) if isinstance(error, ValueError | OSError) else type(error).__name__
            log.error("policy refused, the one before it stays", cause=cause)
        else:
            log.info("policy in force", version=self.book.default.policy.version)


def _stamp(path: Path) -> Stamp:
    """Tell versions of a file apart, also where one is swapped for another (as Kubernetes does)."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _parse(path: Path, text: str, disguises: Disguises) -> PolicyBook:
    try:
        _require_each_once(yaml.compose(text))
        return PolicyBook.parse(yaml.safe_load(text), disguises)
    except PolicyError as error:
        raise ValueError(f"{path}, line {_line(yaml.compose(text), error.path)}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ValueError(f"{path}, line {line}: not YAML") from error


def _require_each_once(node: yaml.Node | None, path: Sequence[str] = ()) -> None:
    """Refuse an entry that is given twice: YAML lets the last one hold, and a tenant's stricter one would be gone."""
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _require_each_once(value, (*path, str(index)))
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in names:
                raise PolicyError((*path, name), "is given twice")
            names.add(name)
            _require_each_once(value, (*path, name))


def _line(node: yaml.Node | None, path: Sequence[str]) -> int:
    """Return the line, from 1, of the entry at a path, or of the last part of the path that is there."""
    line = 1
    for step in path:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
        else:
            break
    return line
