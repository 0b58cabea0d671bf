"""Protected works over gRPC: registered, found in a picture, listed and taken out."""

from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from scrollintel.visual.v1 import safety_finding_pb2, safety_pb2, safety_pb2_grpc
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.local.triton import Triton
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.images import encode_png
from services.runtime.server import serve
from services.safety.service import spec
from services.safety.settings import Settings

SECONDS = 60
LONG: dict[str, object] = {
    "writing_seconds": SECONDS,
    "violence_seconds": SECONDS,
    "nsfw_seconds": SECONDS,
    "works_seconds": SECONDS,
    "picture_seconds": SECONDS,
}


async def stored(home: Path, picture: NDArray[np.uint8]) -> MediaRef:
    height, width = picture.shape[:2]
    return await BlobStore.open("", home).put(
        await encode_png(picture), media_type="image/png", width=width, height=height
    )


async def error_of(call: object) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return MeshError.from_rpc(caught.value, "safety")


async def test_a_copy_of_a_registered_work_is_refused_until_it_is_taken_out(
    triton: Triton, tmp_path: Path
) -> None:
    picture = data.coffee()
    copy = np.ascontiguousarray(cv2.resize(picture, (300, 200), interpolation=cv2.INTER_AREA)[:, ::-1])
    work = safety_pb2.RegisterProtectedWorkRequest(
        request_id="r1", media=await stored(tmp_path, picture), holder="a museum"
    )
    images = [await stored(tmp_path, copy), await stored(tmp_path, data.rocket())]
    settings = Settings.model_validate({"home": tmp_path, "triton_address": triton.grpc_address, **LONG})
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        stub = safety_pb2_grpc.SafetyServiceStub(channel)

        async def verdict_on(image: MediaRef) -> safety_pb2.SafetyVerdict:
            request = safety_pb2.CheckImageRequest(image=image)
            return (await stub.CheckImage(request, timeout=SECONDS)).verdict

        made = (await stub.RegisterProtectedWork(work, timeout=SECONDS)).id
        again = (await stub.RegisterProtectedWork(work, timeout=SECONDS)).id
        page = await stub.ListProtectedWorks(safety_pb2.ListProtectedWorksRequest(), timeout=SECONDS)
        copied, other = [await verdict_on(image) for image in images]
        removal = safety_pb2.RemoveProtectedWorkRequest(id=made)
        await stub.RemoveProtectedWork(removal, timeout=SECONDS)
        free = await verdict_on(images[0])
        gone = await error_of(stub.RemoveProtectedWork(removal, timeout=SECONDS))
    (listed,) = page.works
    assert made == again == listed.id
    assert listed.holder == "a museum"
    assert copied.action == safety_finding_pb2.SAFETY_ACTION_BLOCK
    (finding,) = copied.findings
    assert finding.category == safety_finding_pb2.SAFETY_CATEGORY_COPYRIGHT
    assert finding.evidence.startswith(f"protected work {made}, distance ")
    assert "museum" not in str(copied)
    assert other.action == free.action == safety_finding_pb2.SAFETY_ACTION_ALLOW
    assert "protected_works/1" in other.checks
    assert gone.name == "NOT_FOUND"


async def test_what_cannot_be_a_work_or_a_page_is_refused_with_the_rule(tmp_path: Path) -> None:
    plain = await stored(tmp_path, np.full((64, 64, 3), 200, np.uint8))
    absent = MediaRef(uri=f"blob:{'0' * 64}", sha256="0" * 64, media_type="image/png")
    settings = Settings(home=tmp_path, triton_address="127.0.0.1:1")
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        stub = safety_pb2_grpc.SafetyServiceStub(channel)

        async def refusal(media: MediaRef | None) -> MeshError:
            request = safety_pb2.RegisterProtectedWorkRequest(media=media, holder="a museum")
            return await error_of(stub.RegisterProtectedWork(request, timeout=SECONDS))

        nothing, unknown, empty = [await refusal(media) for media in (None, absent, plain)]
        pages = safety_pb2.ListProtectedWorksRequest(page_token="x")
        page = await error_of(stub.ListProtectedWorks(pages, timeout=SECONDS))
    assert (nothing.name, nothing.field) == ("FIELD_INVALID", "media")
    assert unknown.name == "NOT_FOUND"
    assert (
        empty.message == "media: shows too little to be told from other pictures: 0 of 100, and 50 are needed"
    )
    assert (page.name, page.field) == ("FIELD_INVALID", "page_token")
