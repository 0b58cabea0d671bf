"""What a caller is told of a fault of our own: that there was one, and how to name it."""

from scrollintel.visual.v1 import errors_pb2
from services.runtime import telemetry
from services.runtime.errors import MeshError


def internal() -> MeshError:
    """Return the error of a bug; its details are in the log, under the same trace."""
    return MeshError(
        errors_pb2.ERROR_REASON_INTERNAL, f"internal error; quote trace {telemetry.trace_id() or 'none'}"
    )
