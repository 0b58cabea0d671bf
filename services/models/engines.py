"""TensorRT engines for the models that are built on this machine: made on request, stopped by Ctrl-C."""

import signal
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from services.models.catalogue import CatalogueError
from services.models.entry import Precision
from services.models.inventory import built_models

if TYPE_CHECKING:
    from services.models.tensorrt.engines import EngineOutcome


def build_engines_of(
    name: str,
    home: Path,
    report: Callable[[str], None],
    *,
    precision: Precision | None = None,
    sm: int | None = None,
    finished: Callable[[str], None] = lambda component: None,
) -> "list[EngineOutcome]":
    """Build an engine for every component of a built model, from the main thread; one that is there already stays.

    `precision` is what the model was built in and `sm` this machine's GPU when not given; `finished` is told each
    component when it is done with. Raises CatalogueError when
    the model is not built, KeyboardInterrupt after Ctrl-C, and BuilderError when no engine can be built here.
    """
    built = {model.name: (model, build) for model, build in built_models(home)}
    if name not in built:
        raise CatalogueError(f"{name} is not built; first: vmesh models build {name}")
    model, build = built[name]
    from services.models.tensorrt.engines import build_engines  # its library is where engines are built alone

    # An exception cannot pass through the builder's own threads, so Ctrl-C is asked for instead of raised.
    stopped = Event()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        outcomes = build_engines(
            build,
            model,
            precision=precision,
            target_sm=sm,
            home=home,
            report=report,
            finished=finished,
            proceed=lambda: not stopped.is_set(),
        )
    finally:
        signal.signal(signal.SIGINT, before)
    if stopped.is_set():
        raise KeyboardInterrupt
    return outcomes
