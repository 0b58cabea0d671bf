"""Which operations are served, and what is said of the others."""

import pytest

from scrollintel.visual.v1.spec_pb2 import (
    Deblur,
    Denoise,
    EnhancementOperation,
    Interpolate,
    PixelSize,
    RestoreFaces,
    Upscale,
)
from services.enhance.operations import plan_operations
from services.enhance.plan import Enlarge, Resize, Size
from services.runtime.errors import MeshError

TWICE = EnhancementOperation(upscale=Upscale(factor=2, variant="x4plus-anime"))


def test_operations_follow_one_another() -> None:
    to_size = EnhancementOperation(upscale=Upscale(size=PixelSize(width=100, height=100)))
    assert plan_operations(Size(20, 20), [TWICE, to_size]) == (
        Enlarge("x4plus-anime"),
        Resize(Size(40, 40)),
        Enlarge("compact"),
        Resize(Size(100, 100)),
    )


@pytest.mark.parametrize(
    ("operation", "kind", "reason"),
    [
        (EnhancementOperation(restore_faces=RestoreFaces()), "restore_faces", "MODEL_NEEDS_WEIGHTS"),
        (EnhancementOperation(denoise=Denoise()), "denoise", "UNIMPLEMENTED"),
        (EnhancementOperation(deblur=Deblur()), "deblur", "UNIMPLEMENTED"),
        (EnhancementOperation(interpolate=Interpolate(fps=60)), "interpolate", "UNIMPLEMENTED"),
    ],
)
def test_what_is_not_served_says_so_before_any_work(
    operation: EnhancementOperation, kind: str, reason: str
) -> None:
    with pytest.raises(MeshError) as caught:
        plan_operations(Size(20, 20), [TWICE, operation])
    assert caught.value.name == reason
    assert caught.value.field == f"spec.operations[1].{kind}"


def test_a_size_that_operations_reach_together_is_checked() -> None:
    four = EnhancementOperation(upscale=Upscale(factor=4))
    with pytest.raises(MeshError) as caught:
        plan_operations(Size(600, 600), [four, four])
    assert caught.value.name == "FIELD_INVALID"
    assert caught.value.field == "spec.operations[1].upscale.factor"
