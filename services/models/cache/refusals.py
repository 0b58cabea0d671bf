"""What a caller is told when a model cannot be had."""

from scrollintel.visual.v1 import errors_pb2
from services.models.cache.plan import Busy, TooLarge
from services.runtime.errors import MeshError

MEBIBYTE = 1 << 20
BUSY_RETRY_SECONDS = 5.0  # work on a model takes seconds to minutes; nobody here knows how long


def does_not_fit(name: str, size: int, budget: int, why: Busy | TooLarge) -> MeshError:
    """Return the refusal of a model that there is no room for: OVERLOADED if there may be later, else OUT_OF_MEMORY."""
    needs = f"{name} needs {size // MEBIBYTE} MiB of memory"
    if isinstance(why, TooLarge):
        room = f"the pinned models leave {why.room // MEBIBYTE} of {budget // MEBIBYTE} MiB"
        message = f"{needs} and {room}: give the models more (VMESH_MODELS_MEMORY_MIB) or pin fewer"
        return MeshError(errors_pb2.ERROR_REASON_OUT_OF_MEMORY, message)
    return MeshError(
        errors_pb2.ERROR_REASON_OVERLOADED,
        f"{needs}, which come free when the work on {', '.join(why.waits_for)} ends; try again shortly",
        retry_after=BUSY_RETRY_SECONDS,
        estimated_wait=BUSY_RETRY_SECONDS,
    )


def pinned(name: str) -> MeshError:
    """Return the refusal to unload what is to stay."""
    rule = f"{name} is pinned: it stays loaded; its catalogue entry's residency says so"
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="name")


def in_use(name: str, leases: int) -> MeshError:
    """Return the refusal to unload what is worked with."""
    return MeshError(
        errors_pb2.ERROR_REASON_OVERLOADED,
        f"{name} is in use by {leases} callers and stays loaded; try again when their work has ended",
        retry_after=BUSY_RETRY_SECONDS,
        estimated_wait=BUSY_RETRY_SECONDS,
    )


def not_loaded_here(name: str) -> MeshError:
    """Return the refusal to load where that is not ours to do."""
    message = f"{name} is not loaded, and here Triton alone decides what is: restart it with this model in its repository"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message)


def not_unloaded_here() -> MeshError:
    """Return the refusal to unload where that is not ours to do."""
    message = "here Triton alone decides which models are loaded (VMESH_MODELS_MANAGE is off)"
    return MeshError(errors_pb2.ERROR_REASON_UNIMPLEMENTED, message)


def away() -> MeshError:
    """Return the failure to load anything while Triton does not answer."""
    message = "Triton, which runs the models, cannot be reached; try again shortly"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=BUSY_RETRY_SECONDS)


def too_slow(name: str, seconds: float) -> MeshError:
    """Return the failure of a model that Triton did not get ready in time."""
    message = f"{name} was not loaded within {seconds:g} s; Triton's log may tell why"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=BUSY_RETRY_SECONDS)
