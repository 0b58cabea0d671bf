"""The operations of an enhancement as this room understands them, checked before any work is done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scrollintel.visual.v1 import errors_pb2, events_pb2
from scrollintel.visual.v1.events_pb2 import Stage
from scrollintel.visual.v1.spec_pb2 import EnhancementOperation, Upscale
from scrollintel.visual.v1.spec_pb2 import RestoreFaces as RestoreFacesSpec
from services.enhance.plan import (
    Pass,
    PlanError,
    RestoreFaces,
    Size,
    plan_factor,
    plan_filter,
    plan_size,
    result_size,
)
from services.runtime.errors import MeshError

DEFAULT_VARIANT = "compact"
DENOISER = "denoise_oidn"
DEBLURRER = "deblur_maxim"
# What each takes at most, as its config.pbtxt says: refused here it is known before any work is done, and by its name.
FILTER_PIXELS: Mapping[str, int] = {DENOISER: 16_777_216, DEBLURRER: 1_048_576}

# What is declared and not served, and why.
UNSERVED: Mapping[str, str] = {
    "interpolate": "adds frames between frames, and a still picture has none; video is not served by this version"
}


@dataclass(frozen=True)
class Operation:
    """One operation: the stage that its steps are told in, and its passes, in order; none where nothing is to be done."""

    stage: Stage.ValueType
    passes: tuple[Pass, ...]


def _upscale(source: Size, asked: Upscale) -> tuple[Pass, ...]:
    variant = asked.variant or DEFAULT_VARIANT
    if asked.WhichOneof("target") == "size":
        return plan_size(source, Size(asked.size.width, asked.size.height), variant)
    return plan_factor(source, asked.factor, variant)


def _denoise(source: Size, _: Any) -> tuple[Pass, ...]:
    return plan_filter(source, DENOISER, FILTER_PIXELS[DENOISER])


def _deblur(source: Size, _: Any) -> tuple[Pass, ...]:
    return plan_filter(source, DEBLURRER, FILTER_PIXELS[DEBLURRER])


def _restore_faces(_: Size, asked: RestoreFacesSpec) -> tuple[Pass, ...]:
    return (RestoreFaces(asked.fidelity),)


PLANNERS: Mapping[str, tuple[Stage.ValueType, Callable[[Size, Any], tuple[Pass, ...]]]] = {
    "upscale": (events_pb2.STAGE_UPSCALE, _upscale),
    "denoise": (events_pb2.STAGE_DENOISE, _denoise),
    "deblur": (events_pb2.STAGE_DEBLUR, _deblur),
    "restore_faces": (events_pb2.STAGE_RESTORE_FACES, _restore_faces),
}


def plan_operations(source: Size, operations: Sequence[EnhancementOperation]) -> tuple[Operation, ...]:
    """Plan all operations, one after the other, for a picture of size `source`.

    Raises MeshError naming the operation: FIELD_INVALID for what cannot be done to a picture of its size, UNIMPLEMENTED
    for an operation that is not served.
    """
    planned: list[Operation] = []
    for index, operation in enumerate(operations):
        kind = operation.WhichOneof("operation") or ""
        path = f"spec.operations[{index}].{kind}"
        if kind in UNSERVED:
            message = f"{path} {UNSERVED[kind]}"
            raise MeshError(errors_pb2.ERROR_REASON_UNIMPLEMENTED, message, field=path)
        stage, plan = PLANNERS[kind]
        try:
            passes = plan(source, getattr(operation, kind))
        except PlanError as error:
            field = f"{path}.{error.field}".rstrip(".")
            raise MeshError(
                errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {error}", field=field
            ) from error
        planned.append(Operation(stage, passes))
        source = result_size(source, passes)
    return tuple(planned)
