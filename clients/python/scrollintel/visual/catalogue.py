"""Models and backends, as the mesh lists them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from scrollintel.visual import wire
from scrollintel.visual.v1 import models_pb2, router_pb2


class ModelState(StrEnum):
    """Whether a model can be used."""

    READY = "ready"
    LOADABLE = "loadable"
    NEEDS_WEIGHTS = "needs_weights"
    LOADING = "loading"
    UNLOADING = "unloading"
    QUARANTINED = "quarantined"
    NOT_BUILT = "not_built"
    UNKNOWN = "unknown"


class Residency(StrEnum):
    """When a model is in memory: from the start on, or while it is wanted."""

    PINNED = "pinned"
    ON_DEMAND = "on_demand"
    UNKNOWN = "unknown"


class BackendState(StrEnum):
    """Whether a backend takes work."""

    READY = "ready"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    NEEDS_WEIGHTS = "needs_weights"
    LOADABLE = "loadable"
    NOT_CONFIGURED = "not_configured"
    RETIRED = "retired"
    UNKNOWN = "unknown"

    @property
    def takes_work(self) -> bool:
        """Whether a request can run there now, after its model was loaded where need be."""
        return self in (BackendState.READY, BackendState.LOADABLE)


class Modality(StrEnum):
    """What a backend makes."""

    TEXT_TO_IMAGE = "text_to_image"
    VIDEO = "video"
    UPSCALE = "upscale"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Model:
    """An entry of the catalogue."""

    name: str
    family: str
    task: str
    state: ModelState
    licence: str
    """SPDX name of the licence of its weights."""
    commercial_use: bool
    memory_bytes: int
    remedy: str
    """What to do when it is not built; empty otherwise."""
    residency: Residency
    resident_bytes: int
    """Memory its processes hold now; 0 when it is not loaded or nothing can be measured."""

    @classmethod
    def read(cls, message: models_pb2.Model) -> "Model":
        """Read an entry from the wire."""
        return cls(
            name=message.name,
            family=message.family,
            task=message.task,
            state=wire.word(ModelState, models_pb2.ModelState.DESCRIPTOR, message.state),
            licence=message.licence,
            commercial_use=message.commercial_use,
            memory_bytes=message.memory_bytes,
            remedy=message.remedy,
            residency=wire.word(Residency, models_pb2.ModelResidency.DESCRIPTOR, message.residency),
            resident_bytes=message.resident_bytes,
        )


@dataclass(frozen=True, slots=True)
class Backend:
    """Something that can make media."""

    name: str
    model: str
    modality: Modality
    state: BackendState
    in_flight: int
    """Requests it is working on."""
    concurrency: int
    """Requests it works on at most at one time."""
    checked_at: datetime
    """When its state was last confirmed."""
    remedy: str = ""
    """What to do so that it takes work, where it lacks weights, a key or an address."""
    paid: bool = False
    """Whether a run costs money."""
    retires_at: datetime | None = None
    """When its provider shuts the model down; None where no date is announced."""
    allowance: int = 0
    """Requests it is trusted with now: `concurrency`, or less while it comes back after failures."""

    @classmethod
    def read(cls, message: router_pb2.Backend) -> "Backend":
        """Read a backend from the wire."""
        return cls(
            name=message.name,
            model=message.model,
            modality=wire.word(Modality, router_pb2.Modality.DESCRIPTOR, message.modality),
            state=wire.word(BackendState, router_pb2.BackendState.DESCRIPTOR, message.state),
            in_flight=message.in_flight,
            concurrency=message.concurrency,
            checked_at=wire.moment(message.checked_at),
            remedy=message.remedy,
            paid=message.paid,
            retires_at=wire.moment(message.retires_at) if message.HasField("retires_at") else None,
            allowance=message.allowance,
        )
