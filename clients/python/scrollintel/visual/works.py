"""Works that must not be reproduced, as the mesh keeps them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from scrollintel.visual.v1 import safety_pb2 as pb


@dataclass(frozen=True, slots=True)
class ProtectedWork:
    """A registered work; nothing of the picture is kept but a hash and an embedding."""

    id: str
    """What findings name: `protected work <id>, distance 12 of 256`."""
    holder: str
    """Who holds the rights."""
    created_at: datetime

    @classmethod
    def read(cls, message: pb.ProtectedWork) -> "ProtectedWork":
        """Read a work from the wire."""
        return cls(message.id, message.holder, message.created_at.ToDatetime(UTC))
