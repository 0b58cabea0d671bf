"""Building engines of a model's components, and letting those be run that compute what the reference computes."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.models.digests import sha256_file
from services.models.entry import Model, Precision
from services.models.parity import ParityError, Recording, compare, recorded, recording
from services.models.serving.engine import Engine, EngineError, compute_capability, version
from services.models.sources import exclusive
from services.models.tensorrt.api import BuilderError, Library, build_plan, library_for
from services.models.tensorrt.cast import CastError
from services.models.tensorrt.graph_file import WeightError, graph_tensors
from services.models.tensorrt.key import EngineKey
from services.models.tensorrt.plain import PlainError
from services.models.tensorrt.precision import refusal, tolerance
from services.models.tensorrt.prepare import prepare
from services.models.tensorrt.profiles import ProfileError, engine_profiles
from services.models.tensorrt.store import ENGINES, Record, Status, Store, new_record
from services.models.tensorrt.timings import keep_timings, read_timings
from services.models.tensorrt.triton_config import plan_config, python_config

MAKING = ".making-"
REFUSALS = (BuilderError, CastError, ParityError, PlainError, ProfileError, WeightError)


@dataclass(frozen=True)
class EngineOutcome:
    """What became of one component: its engine's record, or why there is none."""

    component: str
    status: Status
    detail: str = ""
    record: Record | None = None
    built: bool = False


@dataclass(frozen=True)
class _Site:
    """What every engine of one build is built with."""

    build: Path
    model: Model
    precision: Precision
    sm: int
    library: Library
    home: Path
    report: Callable[[str], None]
    proceed: Callable[[], bool]


def build_engines(
    build: Path,
    model: Model,
    *,
    precision: Precision | None = None,
    target_sm: int | None = None,
    home: Path,
    report: Callable[[str], None] = lambda stage: None,
    finished: Callable[[str], None] = lambda component: None,
    proceed: Callable[[], bool] = lambda: True,
) -> list[EngineOutcome]:
    """Build an engine for each component of `build`, and promote those that pass the gate on the GPU here.

    `precision` is the entry's first by default, `target_sm` (89 for 8.9) the GPU's that is here. An engine that is
    there already, from all the same, is not built again. `report` is told each stage, and `finished` each component
    that is done with. `proceed` is asked often; false ends the work between two steps of the builder, and what is
    finished stays. One process at a time works on a build. Blocking.
    Returns an outcome for each component; raises BuilderError when none could have any, naming what is missing.
    """
    present = compute_capability()
    sm = target_sm if target_sm is not None else present
    if sm is None:
        raise BuilderError(
            "there is no GPU here to build for: name the one that will run it, such as --sm 89"
        )
    precision = precision or model.precision
    if reason := refusal(precision, sm):
        raise BuilderError(reason)
    site = _Site(build, model, precision, sm, library_for(sm, present), home, report, proceed)
    with exclusive(build / ENGINES / ".lock"):
        for left in (build / ENGINES).glob(f"{MAKING}*"):  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        outcomes = []
        for graph in components(build):
            outcomes.append(_build_one(site, graph, present))
            finished(graph.stem)
        if any(outcome.record for outcome in outcomes) and (build / "config.pbtxt").is_file():
            on_gpu = python_config((build / "config.pbtxt").read_text(encoding="utf-8"))
            (build / ENGINES / "config.pbtxt").write_text(on_gpu, encoding="utf-8")
    return outcomes


def verify_engines(build: Path, report: Callable[[str], None] = lambda stage: None) -> list[EngineOutcome]:
    """Run every engine of `build` that the GPU here can run against the recorded reference; promote or fail it.

    Of several for one place, the last one built is promoted.
    """
    store, present = Store(build), compute_capability()
    if not store.directory.is_dir():
        return []
    with exclusive(store.directory / ".lock"):
        for record in list(store.records()):
            _gate(build, store, record, present, report)
        return [_outcome(record) for record in store.records()]  # one may have taken another's place


def components(build: Path) -> list[Path]:
    """Return the graphs of a build."""
    return sorted((build / "1").glob("*.onnx"))


def _build_one(site: _Site, graph: Path, present: int | None) -> EngineOutcome:
    component, store = graph.stem, Store(site.build)
    try:
        site.report(f"reading {component}")
        shapes = {name: kind.shape for name, kind in graph_tensors(graph)[0].items()}
        kept = _recording(site.build, component)
        checked_at = {name: array.shape for name, array in kept.feed.items()} if kept else {}
        factor = _pixels_per_latent(site.build)
        profiles = engine_profiles(site.model, component, shapes, checked_at, factor)
        key = EngineKey(
            site.sm, site.library.name, site.library.version, profiles, site.precision, _weights(graph)
        )
        record = store.find(component, key)
        if built := record is None:
            record = _make(site, store, graph, key)
        assert record
        if built or record.status is not Status.PROMOTED:
            record = _gate(site.build, store, record, present, site.report, requested=True)
    except REFUSALS as error:
        return EngineOutcome(component, Status.FAILED, str(error))
    return _outcome(record, built=built)


def _make(site: _Site, store: Store, graph: Path, key: EngineKey) -> Record:
    component, began = graph.stem, time.perf_counter()

    def step(phase: str) -> bool:
        site.report(f"building {component}: {phase}")
        return site.proceed()

    with tempfile.TemporaryDirectory(dir=site.build / ENGINES, prefix=MAKING) as scratch:
        kept = _recording(site.build, component)
        prepared = prepare(graph, site.precision, kept, Path(scratch), site.report)
        plan = build_plan(
            site.library,
            prepared,
            key.profiles,
            sm=site.sm,
            timings=read_timings(site.home, site.sm, site.library),
            step=step,
        )
    if plan.timings is not None:
        keep_timings(site.home, site.sm, site.library, plan.timings)
    seconds = time.perf_counter() - began
    record = new_record(component, key, plan.engine, seconds=seconds, warnings=plan.warnings)
    store.add(record, plan.engine)
    if site.library.name == "tensorrt":  # the one that Triton's own backend opens
        config = plan_config(f"{site.model.name}-{component}", *graph_tensors(graph), key.profiles)
        store.plan(record).with_suffix(".pbtxt").write_text(config, encoding="utf-8")
    return record


def _gate(
    build: Path,
    store: Store,
    record: Record,
    present: int | None,
    report: Callable[[str], None],
    *,
    requested: bool = False,
) -> Record:
    """Run an engine on what was recorded of its component: promoted when it agrees, failed when not.

    A plan that was changed fails at once. Left as it is when it cannot be run here. One that stands back for another comes forward when it was `requested`.
    """
    if not store.is_whole(record):
        return store.fail(record, "its plan is not the file that was built; build it again")
    missing = _missing(record, present)
    if missing:
        return store.note(record, missing) if record.status is Status.BUILT else record
    try:
        kept = _recording(build, record.component)
    except ParityError as error:
        return store.fail(record, str(error))
    if kept is None:
        return store.fail(record, "nothing was recorded to hold it against; build the model again")
    allowed = tolerance(Precision(record.precision), kept.tolerance)
    report(f"checking {record.component}")
    try:
        engine = Engine(store.plan(record), record.library, 0)
        actual = engine.run(kept.feed, list(kept.expected))
        engine.close()
    except (EngineError, RuntimeError, ValueError) as error:
        return store.fail(record, f"it does not run: {error}")
    parity = compare(kept, actual, f"{record.library} {record.version}", allowed)
    if parity.passed:
        stands_back = record.status is Status.VERIFIED and not requested
        return record if stands_back else store.promote(record, parity.error, allowed)
    detail = parity.detail or f"differs from {kept.reference} by {parity.error:.2g}, more than {allowed:.2g}"
    return store.fail(record, detail, parity.error, allowed)


def _missing(record: Record, present: int | None) -> str:
    if present != record.sm:
        here = f"the one here is sm{present}" if present else "there is none here"
        return f"needs a GPU of sm{record.sm} to verify, {here}: run vmesh models verify there"
    if version(record.library) != record.version:
        here = version(record.library) or "none"
        return f"needs {record.library} {record.version} to verify, {here} is installed: build it again"
    return ""


def _outcome(record: Record, *, built: bool = False) -> EngineOutcome:
    return EngineOutcome(record.component, record.status, record.detail, record, built)


def _weights(graph: Path) -> str:
    """SHA-256 over a graph and the weights beside it."""
    files = (graph, graph.with_name(graph.name + ".data"))
    digests = "".join(sha256_file(file) for file in files if file.is_file())
    return hashlib.sha256(digests.encode()).hexdigest()


def _recording(build: Path, component: str) -> Recording | None:
    return recording(build, component) if component in recorded(build) else None


def _pixels_per_latent(build: Path) -> int:
    """How many pixels a latent of this build's VAE is wide, from what was recorded of it; 8 where nothing was."""
    for component in recorded(build):
        kept = recording(build, component)
        if "latents" in kept.feed and "image" in kept.expected:
            return int(kept.expected["image"].shape[-1] // kept.feed["latents"].shape[-1])
    return 8
