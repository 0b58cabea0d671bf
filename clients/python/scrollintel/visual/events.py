"""The moments of a generation's life, one small frozen class each.

Numbers start at 1 and have no gaps; exactly one `Completed` or `Failed` comes, and it comes last.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from scrollintel.visual import exceptions, wire
from scrollintel.visual.assets import Download, Media
from scrollintel.visual.exceptions import VisualMeshError
from scrollintel.visual.quality import Quality
from scrollintel.visual.results import GenerationResult
from scrollintel.visual.safety import SafetyFinding
from scrollintel.visual.v1 import events_pb2, generation_pb2, spec_pb2


class Stage(StrEnum):
    """Parts of a generation that take time."""

    DRAW = "draw"
    UPSCALE = "upscale"
    CHECK = "check"
    SCORE = "score"
    STORE = "store"
    LOAD = "load"
    DENOISE = "denoise"
    DEBLUR = "deblur"
    RESTORE_FACES = "restore_faces"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One moment of a generation; a kind this client does not know arrives as a plain `Event`."""

    generation_id: str
    sequence: int
    """Number within the generation, from 1."""
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Event):
    """Taken; waits for its turn."""

    position: int
    """From 1; 0 when it starts at once."""
    eta: float
    """Seconds until it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(Event):
    """The prompt passed the safety check."""

    findings: tuple[SafetyFinding, ...]
    """What was found and let through."""
    policy_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptEnhanced(Event):
    """The prompt was rewritten."""

    original: str
    enhanced: str
    negative_prompt: str
    style: str
    """The style that was given or detected."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend that was considered."""

    backend: str
    model: str
    score: float
    """Weighted score in [0, 1]; 0 when refused."""
    scores: Mapping[str, float]
    """The scorers' verdicts by name, each in [0, 1]."""
    refusal: str
    """Why it was refused; empty when it was not."""
    predicted_seconds: float
    predicted_cost_usd: float
    predicted_quality: float
    """In [0, 1]."""

    @classmethod
    def read(cls, message: events_pb2.Candidate) -> "Candidate":
        """Read a candidate from the wire."""
        return cls(
            backend=message.backend,
            model=message.model,
            score=message.score,
            scores=MappingProxyType(dict(message.scores)),
            refusal=message.refusal,
            predicted_seconds=wire.seconds(message.predicted_time),
            predicted_cost_usd=message.predicted_cost_usd,
            predicted_quality=message.predicted_quality,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed(Event):
    """A backend was chosen."""

    chosen: Candidate
    reasons: tuple[str, ...]
    runners_up: tuple[Candidate, ...]
    """The other candidates, best first, then the refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Event):
    """A piece of work was done."""

    stage: Stage
    k: int
    """How many pieces are done, from 1 to `n`."""
    n: int
    note: str = ""
    """What came of it where that is worth saying, such as `no face found`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Event):
    """A small look at what is being drawn."""

    index: int
    """Which picture of the request, from 0."""
    image: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback(Event):
    """A backend failed and another one goes on."""

    failed: str
    """The backend that failed."""
    chosen: str
    """The backend that goes on."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Output(Event):
    """A picture exists."""

    index: int
    """Which picture of the request, from 0."""
    media: Media
    seed: int | None
    """The seed it was drawn from; None where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored(Event):
    """A picture was scored."""

    index: int
    """Which picture of the request, from 0."""
    quality: Quality


class Decision(StrEnum):
    """What follows from how a drawing of a picture was judged."""

    ACCEPT = "accept"
    REGENERATE = "regenerate"
    ESCALATE = "escalate"
    GIVE_UP = "give_up"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Event):
    """A drawing of a picture was held against `min_quality`."""

    index: int
    """Which picture of the request, from 0."""
    attempt: int
    """Which drawing of it, from 1."""
    score: float | None
    """In [0, 1]; None where it was not drawn, was refused by the safety check or not scored."""
    min_quality: float
    metric: str
    """The score that was looked at, such as `overall`."""
    decision: Decision
    reason: str
    model: str
    """The model that drew it, or was to."""
    seed: int | None
    delivered: int
    """Which drawing is delivered, from 1; 0 while one is still to come, and where none can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Event):
    """The generation made something and ended."""

    result: GenerationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The generation made nothing and ended."""

    error: VisualMeshError


Fields = dict[str, Any]


def _queued(m: events_pb2.Queued) -> Fields:
    return {"position": m.position, "eta": wire.seconds(m.eta)}


def _checked(m: events_pb2.Checked) -> Fields:
    return {
        "findings": tuple(SafetyFinding.read(finding) for finding in m.findings),
        "policy_version": m.policy_version,
    }


def _prompt_enhanced(m: events_pb2.PromptEnhanced) -> Fields:
    return {
        "original": m.original,
        "enhanced": m.enhanced,
        "negative_prompt": m.negative_prompt,
        "style": m.style,
    }


def _routed(m: events_pb2.Routed) -> Fields:
    return {
        "chosen": Candidate.read(m.chosen),
        "reasons": tuple(m.reasons),
        "runners_up": tuple(Candidate.read(candidate) for candidate in m.runners_up),
    }


def _step(m: events_pb2.Step) -> Fields:
    return {
        "stage": wire.word(Stage, events_pb2.Stage.DESCRIPTOR, m.stage),
        "k": m.k,
        "n": m.n,
        "note": m.note,
    }


def _preview(m: events_pb2.Preview) -> Fields:
    return {"index": m.index, "image": m.image, "media_type": m.media_type}


def _fallback(m: events_pb2.Fallback) -> Fields:
    return {"failed": getattr(m, "from"), "chosen": m.to, "reason": m.reason}


def _output(m: events_pb2.Output) -> Fields:
    return {"index": m.index, "media": Media.read(m.media), "seed": m.seed if m.HasField("seed") else None}


def _scored(m: events_pb2.Scored) -> Fields:
    return {"index": m.index, "quality": Quality.read(m.metrics)}


def _judged(m: events_pb2.Judged) -> Fields:
    metric = spec_pb2.QualityMetric.DESCRIPTOR
    named = metric.values_by_number.get(m.metric)
    return {
        "index": m.index,
        "attempt": m.attempt,
        "score": m.score if m.HasField("score") else None,
        "min_quality": m.min_quality,
        "metric": named.name.removeprefix(wire.prefix(metric)).lower() if named else "unknown",
        "decision": wire.word(Decision, events_pb2.Decision.DESCRIPTOR, m.decision),
        "reason": m.reason,
        "model": m.model,
        "seed": m.seed if m.HasField("seed") else None,
        "delivered": m.delivered,
    }


def _failed(m: generation_pb2.Failed) -> Fields:
    return {"error": exceptions.from_status(m.status)}


READERS: dict[str, tuple[type[Event], Callable[[Any], Fields]]] = {
    "queued": (Queued, _queued),
    "checked": (Checked, _checked),
    "prompt_enhanced": (PromptEnhanced, _prompt_enhanced),
    "routed": (Routed, _routed),
    "step": (Step, _step),
    "preview": (Preview, _preview),
    "fallback": (Fallback, _fallback),
    "output": (Output, _output),
    "scored": (Scored, _scored),
    "judged": (Judged, _judged),
    "failed": (Failed, _failed),
}


def read(message: generation_pb2.GenerationEvent, download: Download) -> Event:
    """Read an event from the wire; `download` fetches the bytes of an asset by id."""
    where: Fields = {
        "generation_id": message.generation_id,
        "sequence": message.sequence,
        "time": wire.moment(message.time),
    }
    kind = message.WhichOneof("event")
    if kind == "completed":
        return Completed(**where, result=GenerationResult.load(message.completed.result, download))
    if kind not in READERS:
        return Event(**where)
    event, fields = READERS[kind]
    return event(**where, **fields(getattr(message, kind)))
