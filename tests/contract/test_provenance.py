"""SealMedia and VerifyProvenance over gRPC."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest
from PIL import Image
from skimage import data

from scrollintel.visual.cli import png
from scrollintel.visual.v1 import errors_pb2, safety_pb2_grpc
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.safety_pb2 import (
    SealMediaRequest,
    SealMediaResponse,
    VerifyProvenanceRequest,
    VerifyProvenanceResponse,
)
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.identity import Identity
from services.runtime.images import encode_png
from services.runtime.server import serve
from services.safety.provenance import film
from services.safety.service import spec
from services.safety.settings import Settings

PICTURE = data.astronaut()[:256, :320]  # type: ignore[no-untyped-call]
ABSENT = MediaRef(uri=f"blob:{'0' * 64}", sha256="0" * 64, media_type="image/png", frames=1)


@asynccontextmanager
async def safety(home: Path, **settings: object) -> AsyncIterator["safety_pb2_grpc.SafetyServiceAsyncStub"]:
    given = Settings.model_validate({"home": home, "triton_address": "127.0.0.1:1", **settings})
    async with serve(spec(given)) as server, connect(server.address) as channel:
        yield safety_pb2_grpc.SafetyServiceStub(channel)


async def stored(home: Path, data: bytes | None = None) -> MediaRef:
    return await BlobStore.open("", home).put(
        data or await encode_png(PICTURE), media_type="image/png", width=320, height=256
    )


def asked(media: MediaRef, **fields: object) -> SealMediaRequest:
    given = {"generation_id": "gen-1", "model": "text_to_image_house", "work": "w", **fields}
    return SealMediaRequest(media=media, **given)  # type: ignore[arg-type]


async def error_of(call: object) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return MeshError.from_rpc(caught.value, "safety")


async def verified(
    stub: "safety_pb2_grpc.SafetyServiceAsyncStub", media: MediaRef
) -> VerifyProvenanceResponse:
    return await stub.VerifyProvenance(VerifyProvenanceRequest(media=media), timeout=100)


async def test_a_sealed_picture_verifies_and_a_changed_one_does_not(tmp_path: Path) -> None:
    blobs = BlobStore.open("", tmp_path)
    async with safety(tmp_path) as stub:
        sealed: SealMediaResponse = await stub.SealMedia(asked(await stored(tmp_path)), timeout=20)
        assert (sealed.media.width, sealed.media.height) == (320, 256)
        told = await verified(stub, sealed.media)
        assert told.manifest_found
        assert told.manifest_valid
        assert told.watermark_found
        assert (told.generation_id, told.model) == ("gen-1", "text_to_image_house")
        assert told.watermark == sealed.watermark
        assert len(told.watermark) == 8
        assert told.watermark_p_value < 1e-6
        assert not told.reasons

        file = await blobs.get(sealed.media)
        shown = Image.open(io.BytesIO(file)).convert("RGB")
        jpeg = io.BytesIO()
        shown.save(jpeg, "JPEG", quality=70)
        stripped = await verified(stub, await stored(tmp_path, jpeg.getvalue()))
        assert not stripped.manifest_found
        assert stripped.watermark == sealed.watermark
        assert list(stripped.reasons) == ["the file has no manifest"]

        touched = png.with_text(file, {"note": "drawn by hand"})
        changed = await verified(stub, await stored(tmp_path, touched))
        assert changed.manifest_found
        assert not changed.manifest_valid
        assert not changed.generation_id
        assert list(changed.reasons) == ["the file was changed after it was signed"]


async def test_a_picture_of_nobody_bears_nothing(tmp_path: Path) -> None:
    async with safety(tmp_path) as stub:
        told = await verified(stub, await stored(tmp_path))
    assert (told.manifest_found, told.manifest_valid, told.watermark_found) == (False, False, False)
    assert told.watermark == ""


async def test_a_restored_picture_and_its_source_are_of_one_mark(tmp_path: Path) -> None:
    async with safety(tmp_path) as stub:
        drawn = await stub.SealMedia(asked(await stored(tmp_path)), timeout=20)
        request = asked(drawn.media, source=drawn.media, model="", generation_id="gen-2", work="other")
        restored = await stub.SealMedia(request, timeout=20)
        told = await verified(stub, restored.media)
    assert restored.watermark == drawn.watermark == told.watermark
    assert (told.generation_id, told.model) == ("gen-2", "")


async def test_after_a_restart_a_mesh_knows_its_own(tmp_path: Path) -> None:
    async with safety(tmp_path) as stub:
        sealed = await stub.SealMedia(asked(await stored(tmp_path)), timeout=20)
    async with safety(tmp_path) as stub:
        told = await verified(stub, sealed.media)
    assert told.manifest_valid
    assert told.watermark == sealed.watermark


async def test_two_tenants_equal_works_bear_different_marks_and_one_tenants_equal_ones(
    tmp_path: Path,
) -> None:
    media = await stored(tmp_path)
    async with safety(tmp_path) as stub:
        marks = []
        for tenant in ("ours", "theirs", "ours"):
            metadata = Identity(tenant).metadata()
            marks.append((await stub.SealMedia(asked(media), timeout=20, metadata=metadata)).watermark)
    assert marks[0] == marks[2] != marks[1]


async def test_media_that_is_absent_or_no_picture_is_told_as_such(tmp_path: Path) -> None:
    text = await stored(tmp_path, b"no picture")
    async with safety(tmp_path) as stub:
        for media, reason in (
            (ABSENT, errors_pb2.ERROR_REASON_NOT_FOUND),
            (text, errors_pb2.ERROR_REASON_MEDIA_INVALID),
        ):
            assert (await error_of(stub.SealMedia(asked(media), timeout=20))).reason == reason
            assert (await error_of(verified(stub, media))).reason == reason
        error = await error_of(stub.SealMedia(asked(text, work=""), timeout=20))
        assert (error.reason, error.field) == (errors_pb2.ERROR_REASON_FIELD_INVALID, "work")


def video(frames: int = 9) -> bytes:
    """PICTURE, which moves by two pixels a frame."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as sink:
        coder: Any = sink.add_stream("libx264", rate=12, options={"crf": "12", "preset": "ultrafast"})
        coder.width, coder.height, coder.pix_fmt = 320, 256, "yuv420p"
        for number in range(frames):
            shown = np.ascontiguousarray(np.roll(PICTURE, 2 * number, axis=1))
            sink.mux(coder.encode(av.VideoFrame.from_ndarray(shown)))
        sink.mux(coder.encode())
    return out.getvalue()


async def test_a_sealed_video_verifies_and_one_that_was_written_anew_still_bears_the_mark(
    tmp_path: Path,
) -> None:
    blobs = BlobStore.open("", tmp_path)

    async def kept(data: bytes) -> MediaRef:
        return await blobs.put(data, media_type="video/mp4")

    async with safety(tmp_path) as stub:
        sealed = await stub.SealMedia(asked(await kept(video())), timeout=100)
        assert (sealed.media.media_type, sealed.media.frames) == ("video/mp4", 9)
        assert (sealed.media.width, sealed.media.height) == (320, 256)
        told = await verified(stub, sealed.media)
        assert told.manifest_valid
        assert (told.generation_id, told.watermark) == ("gen-1", sealed.watermark)

        stripped = await verified(
            stub, await kept(film.changed(await blobs.get(sealed.media), lambda light: light).data)
        )
        assert (stripped.manifest_found, stripped.watermark) == (False, sealed.watermark)

        for broken in (video()[:2000], b"no video"):
            error = await error_of(verified(stub, await kept(broken)))
            assert error.reason == errors_pb2.ERROR_REASON_MEDIA_INVALID
            assert "damaged, or no MP4 video" in error.message


async def test_a_video_that_takes_too_long_ends_with_its_process(tmp_path: Path) -> None:
    media = await BlobStore.open("", tmp_path).put(video(), media_type="video/mp4")
    async with safety(tmp_path, sealed_video_seconds=0.05) as stub:
        error = await error_of(stub.SealMedia(asked(media), timeout=100))
    assert error.reason == errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert error.retry_after


async def test_sealing_that_takes_too_long_says_so(tmp_path: Path) -> None:
    media = await stored(tmp_path, await encode_png(np.tile(PICTURE, (8, 8, 1))))
    async with safety(tmp_path, seal_seconds=0.001) as stub:
        error = await error_of(stub.SealMedia(asked(media), timeout=20))
    assert error.reason == errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert error.retry_after
