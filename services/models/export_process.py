"""`python -m services.models.export_process`: one export in a process of its own, for the model server.

It says how far it is in lines of JSON on the file descriptor it is given: exporters and builders print what they like
on the usual ones. The last line is `{"done": ...}` or `{"failed": ..., "reason": ...}`.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import typer

from services.models.build import BuildStatus, Site, build_one
from services.models.catalogue import CatalogueError
from services.models.engines import build_engines_of
from services.models.inventory import build_of
from services.models.order import Order

Tell = Callable[..., None]


def main(name: str, target: str, home: Path, channel: int, allow: list[str] | None = None) -> None:
    """Export one model; `allow` names those whose licence need not allow commercial use, as that of what is built does."""
    lock, last = Lock(), {"": ""}

    def tell(**line: Any) -> None:
        with lock:  # builders report from threads of their own, and one phase thousands of times
            if line != last:
                os.write(channel, json.dumps(line).encode() + b"\n")
            last.clear()
            last.update(line)

    try:
        # Whoever built it allowed it; a caller's export must not take it out of service.
        allowed = {*(allow or ()), *([name] if build_of(name, home) else ())}
        outcome = build_one(name, Order(), Site(home, lambda _, stage: tell(message=stage), allowed=allowed))
        if not outcome.served:
            tell(failed=outcome.detail or str(outcome.status), reason=str(outcome.status))
            return
        tell(done=str(outcome.status)) if target == "onnx" else _engines(name, home, tell)
    except CatalogueError as error:
        tell(failed=str(error), reason=str(BuildStatus.FAILED))


def _engines(name: str, home: Path, tell: Tell) -> None:
    from services.models.tensorrt.api import BuilderError
    from services.models.tensorrt.engines import components
    from services.models.tensorrt.store import Status

    try:
        total = len(components(home / "model_repository" / name))
        done: list[str] = []

        def report(stage: str) -> None:
            tell(message=stage, progress=len(done) / total)

        outcomes = build_engines_of(name, home, report, finished=done.append)
    except BuilderError as error:
        tell(failed=str(error), reason=str(BuildStatus.FAILED))
        return
    failed = [f"{each.component}: {each.detail}" for each in outcomes if each.status is Status.FAILED]
    if failed:
        tell(failed="; ".join(failed), reason=str(BuildStatus.FAILED))
    else:
        tell(done=", ".join(f"{each.component}: {each.status}" for each in outcomes))


if __name__ == "__main__":
    typer.run(main)
    sys.exit()
