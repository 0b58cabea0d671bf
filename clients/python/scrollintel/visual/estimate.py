"""What a generation would come to."""

from dataclasses import dataclass

from scrollintel.visual import wire
from scrollintel.visual.events import Candidate
from scrollintel.visual.v1 import generation_pb2


@dataclass(frozen=True, slots=True)
class Estimate:
    """The candidates, best first and then the refused, and what their drawing comes to at most.

    The figures are for the first candidate, where it does not fail, and include pictures that are drawn again.
    """

    candidates: tuple[Candidate, ...]
    most_drawings: int
    """Pictures, each counted as often as it may be drawn."""
    most_cost_usd: float | None
    """In US dollars; None where nobody can draw, or for a price that nobody knows."""
    most_seconds: float | None
    """Of drawing alone; None where nobody can draw."""

    @classmethod
    def read(cls, message: generation_pb2.EstimateGenerationResponse) -> "Estimate":
        """Read an estimate from the wire."""
        return cls(
            candidates=tuple(Candidate.read(one) for one in message.candidates),
            most_drawings=message.most_drawings,
            most_cost_usd=message.most_cost_usd if message.HasField("most_cost_usd") else None,
            most_seconds=wire.seconds(message.most_time) if message.HasField("most_time") else None,
        )
