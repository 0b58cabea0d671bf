"""Which operations are served, in which passes, and what is said of the others."""

import re

import pytest

from scrollintel.visual.v1.events_pb2 import (
    STAGE_DEBLUR,
    STAGE_DENOISE,
    STAGE_RESTORE_FACES,
    STAGE_UPSCALE,
)
from scrollintel.visual.v1.spec_pb2 import (
    Deblur,
    Denoise,
    EnhancementOperation,
    Interpolate,
    PixelSize,
    RestoreFaces,
    Upscale,
)
from services.enhance import plan
from services.enhance.operations import FILTER_PIXELS, PLANNERS, UNSERVED, Operation, plan_operations
from services.enhance.plan import Enlarge, Filter, Resize, Size
from services.models.presence import REPOSITORY
from services.runtime.errors import MeshError

TWICE = EnhancementOperation(upscale=Upscale(factor=2, variant="x4plus-anime"))
FOUR = EnhancementOperation(upscale=Upscale(factor=4))
DENOISE = EnhancementOperation(denoise=Denoise())
DEBLUR = EnhancementOperation(deblur=Deblur())


def test_every_declared_operation_is_served_or_says_why_not() -> None:
    declared = {field.name for field in EnhancementOperation.DESCRIPTOR.fields}
    assert declared == PLANNERS.keys() | UNSERVED.keys()
    assert not PLANNERS.keys() & UNSERVED.keys()


def test_operations_follow_one_another() -> None:
    to_size = EnhancementOperation(upscale=Upscale(size=PixelSize(width=100, height=100)))
    assert plan_operations(Size(20, 20), [TWICE, to_size]) == (
        Operation(STAGE_UPSCALE, (Enlarge("x4plus-anime"), Resize(Size(40, 40)))),
        Operation(STAGE_UPSCALE, (Enlarge("compact"), Resize(Size(100, 100)))),
    )


def test_any_order_up_to_eight() -> None:
    faces = EnhancementOperation(restore_faces=RestoreFaces(fidelity=0.25))
    order = [faces, DENOISE, DEBLUR, TWICE, faces, DENOISE, DEBLUR, DENOISE]
    planned = plan_operations(Size(20, 20), order)
    assert [operation.stage for operation in planned] == [
        {"denoise": STAGE_DENOISE, "deblur": STAGE_DEBLUR, "restore_faces": STAGE_RESTORE_FACES}.get(
            operation.WhichOneof("operation") or "", STAGE_UPSCALE
        )
        for operation in order
    ]
    assert planned[0].passes == (plan.RestoreFaces(0.25),)
    assert planned[1].passes == (Filter("denoise_oidn"),)
    assert planned[2].passes == (Filter("deblur_maxim"),)


def test_nothing_to_do_is_an_operation_without_passes() -> None:
    same = EnhancementOperation(upscale=Upscale(size=PixelSize(width=20, height=20)))
    assert plan_operations(Size(20, 20), [same]) == (Operation(STAGE_UPSCALE, ()),)


def test_frames_between_frames_are_not_for_stills() -> None:
    with pytest.raises(MeshError) as caught:
        plan_operations(Size(20, 20), [TWICE, EnhancementOperation(interpolate=Interpolate(fps=60))])
    assert caught.value.name == "UNIMPLEMENTED"
    assert caught.value.field == "spec.operations[1].interpolate"
    assert "still picture has none" in caught.value.message


def test_a_size_that_operations_reach_together_is_checked() -> None:
    with pytest.raises(MeshError) as caught:
        plan_operations(Size(600, 600), [FOUR, FOUR])
    assert caught.value.name == "FIELD_INVALID"
    assert caught.value.field == "spec.operations[1].upscale.factor"


@pytest.mark.parametrize("model", FILTER_PIXELS)
def test_a_filter_is_planned_for_what_its_model_takes(model: str) -> None:
    """A model that refuses a picture does so when others have worked on it, and Triton's words are not passed on."""
    told = (REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")
    found = re.search(r'"max_pixels" value { string_value: "(\d+)" }', told)
    assert found
    assert FILTER_PIXELS[model] == int(found[1])


def test_a_picture_too_large_for_a_filter_is_refused_before_any_work() -> None:
    assert plan_operations(Size(4096, 4096), [DENOISE])
    assert plan_operations(Size(1024, 1024), [DEBLUR])
    with pytest.raises(MeshError, match="at most 1048576 pixels; this one has 1025 × 1024"):
        plan_operations(Size(1025, 1024), [DENOISE, DEBLUR])
    with pytest.raises(MeshError) as caught:
        plan_operations(Size(1140, 1140), [FOUR, DENOISE])
    assert caught.value.name == "FIELD_INVALID"
    assert caught.value.field == "spec.operations[1].denoise"
    assert "4560 × 4560" in caught.value.message
