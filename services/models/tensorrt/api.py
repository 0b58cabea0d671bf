"""The one place that speaks to a builder: `tensorrt` or `tensorrt_rtx`, which share an interface but not every member.

Both are asked only for what both have; what one lacks is found by looking, not by name or version. Networks are
strongly typed in both: the precision of every tensor is the graph's.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.models.entry import Profile

# In order of preference: the first builds for any GPU it runs on, the second for those its own table names.
LIBRARIES = ("tensorrt", "tensorrt_rtx")
NOISE_CUDA = "CUDA driver version is insufficient"  # said along with each error on a machine without a GPU


class BuilderError(Exception):
    """No engine came of a graph; the text says which node or input, what the builder said, and what to do."""


@dataclass(frozen=True)
class Library:
    """An installed builder. `targets` are the SMs it builds for without such a GPU."""

    name: str
    version: str
    targets: tuple[int, ...]
    module: Any

    @property
    def keeps_timings(self) -> bool:
        """Whether it times kernels while building. `tensorrt_rtx` compiles on the GPU later, and its cache is a no-op."""
        return self.name == "tensorrt"


@dataclass(frozen=True)
class Plan:
    """A serialized engine, the timings to start the next build from (None where the library keeps none), warnings."""

    engine: bytes
    timings: bytes | None
    warnings: tuple[str, ...]


def installed() -> list[Library]:
    """Return the builders that can be imported, preferred first."""
    found = []
    for name in LIBRARIES:
        try:
            module = importlib.import_module(name)
            found.append(Library(name, str(module.__version__), _targets(module), module))
        except (ImportError, OSError, AttributeError):
            continue  # absent, or a package whose native libraries are: tensorrt from PyPI alone
    return found


def _targets(module: Any) -> tuple[int, ...]:
    members = getattr(module, "ComputeCapability", None)
    names = members.__members__ if members is not None else ()
    return tuple(sorted(int(name[2:]) for name in names if re.fullmatch(r"SM\d+", name)))


def library_for(sm: int, present: int | None) -> Library:
    """Return the builder for GPUs of compute capability `sm` (89 is 8.9), where the GPU here has `present`.

    Raises BuilderError when none is installed or none of them can build for it here.
    """
    libraries = installed()
    if not libraries:
        raise BuilderError(
            "neither tensorrt nor tensorrt_rtx is installed: "
            "pip install 'visual-mesh[tensorrt-rtx]' (or [tensorrt], with the vendor's index)"
        )
    for library in libraries:
        # One that measures kernels builds for the GPU it measures on, whichever that is.
        if sm in library.targets or (library.keeps_timings and sm == present):
            return library
    can = "; ".join(
        f"{each.name} {each.version} builds for "
        + (", ".join(f"sm{target}" for target in each.targets) or "the GPU it runs on")
        for each in libraries
    )
    here = f"the GPU here is sm{present}" if present else "there is no GPU here"
    raise BuilderError(f"no engine for sm{sm} can be built here: {can}, and {here}")


class _Log:
    """What the parser and the builder say, by severity; kept, because the API returns only that it failed."""

    def __init__(self, module: Any) -> None:
        lines: dict[str, list[str]] = {}

        class Logger(module.ILogger):  # type: ignore[misc]  # its base is known at run time
            def __init__(self) -> None:
                module.ILogger.__init__(self)

            def log(self, severity: Any, text: str) -> None:
                lines.setdefault(severity.name, []).append(text)

        self.lines = lines
        self.logger = Logger()

    def errors(self) -> str:
        said = [*self.lines.get("INTERNAL_ERROR", []), *self.lines.get("ERROR", [])]
        return (
            "; ".join(line for line in said if NOISE_CUDA not in line) or "; ".join(said) or "no reason given"
        )

    def warnings(self) -> tuple[str, ...]:
        return tuple(self.lines.get("WARNING", []))


def build_plan(
    library: Library,
    graph: Path,
    profiles: Mapping[str, Profile],
    *,
    sm: int,
    timings: bytes = b"",
    step: Callable[[str], bool] = lambda phase: True,
) -> Plan:
    """Parse an ONNX file (weights beside it are read too) and build an engine for GPUs of compute capability `sm`.

    `profiles` gives each input with free axes its shapes. `timings` is what an earlier build of the same library on
    the same kind of GPU kept. `step` is called with the builder's phase; false ends the build. Blocking, and native:
    it lets other threads run. Raises BuilderError.
    """
    module, log = library.module, _Log(library.module)
    builder = module.Builder(log.logger)
    network = builder.create_network(_flags(module))
    parser = module.OnnxParser(network, log.logger)
    if not parser.parse_from_file(str(graph)):
        raise BuilderError(f"{graph.name}: {_parse_errors(parser) or log.errors()}")
    config = builder.create_builder_config()
    config.clear_flag(
        module.BuilderFlag.TF32
    )  # its 10-bit mantissas would be another precision than the graph's
    if sm in library.targets:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(module.ComputeCapability, f"SM{sm}"), 0)
    cache = config.create_timing_cache(timings) if library.keeps_timings else None
    if cache is not None and not config.set_timing_cache(cache, False):
        # Written by another GPU or version after all: begin anew rather than build from foreign timings.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    if profiles:
        config.add_optimization_profile(_profile(builder, profiles, graph.name))
    monitor = _monitor(module, step)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor.failure is not None:
        raise monitor.failure
    if monitor.stopped:
        raise BuilderError(f"{graph.name}: stopped before it was built")
    if plan is None:
        raise BuilderError(f"{graph.name}: {log.errors()}")
    return Plan(bytes(plan), bytes(cache.serialize()) if cache is not None else None, log.warnings())


def _flags(module: Any) -> int:
    strongly_typed = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if strongly_typed is None else 1 << int(strongly_typed)


def _profile(builder: Any, profiles: Mapping[str, Profile], graph: str) -> Any:
    made = builder.create_optimization_profile()
    for name, shapes in profiles.items():
        try:
            made.set_shape(name, shapes.min, shapes.opt, shapes.max)
        except ValueError as error:
            raise BuilderError(f"{graph}: input {name}: the builder refuses {shapes}: {error}") from error
    return made


def _monitor(module: Any, step: Callable[[str], bool]) -> Any:
    class Monitor(module.IProgressMonitor):  # type: ignore[misc]  # its base is known at run time
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.stopped = False
            self.failure: Exception | None = None

        def ask(self, phase: str) -> bool:
            try:  # an exception that reached the builder's threads would end the process
                self.stopped = self.stopped or not step(phase)
            except Exception as error:
                self.stopped, self.failure = True, error
            return not self.stopped

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self.ask(phase)

        def phase_finish(self, phase: str) -> None:
            pass

        def step_complete(self, phase: str, done: int) -> bool:
            return self.ask(phase)

    return Monitor()


def _parse_errors(parser: Any) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return "; ".join(f"{_node(error)}{_readable(error.desc())}" for error in errors)


def _node(error: Any) -> str:
    name = error.node_name() or (f"number {error.node()}" if error.node() >= 0 else "")
    return f"node {name} ({error.node_operator()}): " if name else ""


def _readable(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    return "; ".join(line for line in lines if line and NOISE_CUDA not in line)
