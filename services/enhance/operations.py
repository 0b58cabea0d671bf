"""The operations of an enhancement as this room understands them, checked before any work is done."""

from collections.abc import Sequence

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.spec_pb2 import EnhancementOperation, Upscale
from services.enhance.plan import Pass, PlanError, Size, plan_factor, plan_size, result_size
from services.runtime.errors import MeshError

DEFAULT_VARIANT = "compact"

# What is declared and not served: which reason says so, and what is missing.
UNSERVED: dict[str, tuple[errors_pb2.ErrorReason.ValueType, str]] = {
    "restore_faces": (
        errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS,
        "needs a face restoration model, and no such model has weights on this installation",
    ),
    "denoise": (errors_pb2.ERROR_REASON_UNIMPLEMENTED, "is not served by this version; upscale is"),
    "deblur": (errors_pb2.ERROR_REASON_UNIMPLEMENTED, "is not served by this version; upscale is"),
    "interpolate": (
        errors_pb2.ERROR_REASON_UNIMPLEMENTED,
        "is for video, which this version does not enhance",
    ),
}


def plan_operations(source: Size, operations: Sequence[EnhancementOperation]) -> tuple[Pass, ...]:
    """Plan all operations, one after the other, for a picture of size `source`.

    Raises MeshError naming the operation: FIELD_INVALID for a size that cannot be reached, MODEL_NEEDS_WEIGHTS or
    UNIMPLEMENTED for an operation that is not served.
    """
    passes: tuple[Pass, ...] = ()
    for index, operation in enumerate(operations):
        path = f"spec.operations[{index}]"
        kind = operation.WhichOneof("operation") or ""
        if kind in UNSERVED:
            reason, what = UNSERVED[kind]
            raise MeshError(reason, f"{path}.{kind} {what}", field=f"{path}.{kind}")
        try:
            passes += _plan_upscale(result_size(source, passes), operation.upscale)
        except PlanError as error:
            field = f"{path}.upscale.{error.field}"
            raise MeshError(
                errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {error}", field=field
            ) from error
    return passes


def _plan_upscale(source: Size, upscale: Upscale) -> tuple[Pass, ...]:
    variant = upscale.variant or DEFAULT_VARIANT
    if upscale.WhichOneof("target") == "size":
        return plan_size(source, Size(upscale.size.width, upscale.size.height), variant)
    return plan_factor(source, upscale.factor, variant)
