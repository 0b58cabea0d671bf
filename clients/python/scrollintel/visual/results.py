"""What a finished generation made."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from scrollintel.visual import exceptions, wire
from scrollintel.visual.assets import Asset, Download
from scrollintel.visual.exceptions import VisualMeshError
from scrollintel.visual.quality import Quality
from scrollintel.visual.v1 import generation_pb2 as pb


class GenerationState(StrEnum):
    """Where a generation is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """What a finished generation made."""

    id: str
    state: GenerationState
    assets: tuple[Asset, ...]
    """What was made, in the order of the request."""
    quality: Quality
    """Mean of the assets' scores; a score is None unless every asset has it."""
    seconds: float
    """From acceptance to the last stored asset."""
    cost_usd: float
    model_used: str
    created_at: datetime
    provenance: str
    """SHA-256 of the spec with every default filled in."""
    errors: tuple[VisualMeshError, ...]
    """One for each picture that could not be made; empty when all were."""

    @classmethod
    def load(cls, message: pb.GenerationResult, download: Download) -> "GenerationResult":
        """Read a result from the wire; `download` fetches the bytes of an asset by id."""
        return cls(
            id=message.id,
            state=wire.word(GenerationState, pb.GenerationState.DESCRIPTOR, message.state),
            assets=tuple(Asset.load(asset, download) for asset in message.assets),
            quality=Quality.read(message.quality),
            seconds=wire.seconds(message.generation_time),
            cost_usd=message.cost_usd,
            model_used=message.model_used,
            created_at=wire.moment(message.created_at),
            provenance=message.provenance,
            errors=tuple(exceptions.from_status(status) for status in message.errors),
        )
