"""EnhanceService through a real server over the real Triton, with a real models server that leases its models."""

import asyncio
import io
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from scrollintel.visual.v1 import enhance_pb2 as pb
from scrollintel.visual.v1 import enhance_pb2_grpc
from scrollintel.visual.v1.events_pb2 import STAGE_DENOISE, STAGE_RESTORE_FACES, STAGE_UPSCALE, Step
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.spec_pb2 import (
    Denoise,
    EnhancementOperation,
    EnhancementSpec,
    Interpolate,
    PixelSize,
    RestoreFaces,
    Upscale,
)
from services.enhance.service import spec
from services.enhance.settings import Settings
from services.local.triton import Triton
from services.models.service import spec as models_spec
from services.models.settings import Settings as ModelsSettings
from services.runtime import images
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve
from tests import face_twins
from tests.contract.processor_time import processor_seconds
from tests.triton_fixture import BUILD_HOME
from tests.unit.quality.pictures import icon

Pixels = NDArray[np.uint8]
NOBODY = "127.0.0.1:1"
TWIN = face_twins.GFPGAN
DENOISE = EnhancementOperation(denoise=Denoise())
pytestmark = pytest.mark.timeout(300)  # the first test that wants the twin builds it
IDLE = 0.2  # processor seconds in a second; enlarging takes one or two


class Enhance:
    """A running enhancement server, its client and its store."""

    def __init__(self, channel: grpc.aio.Channel, home: Path) -> None:
        self.stub = enhance_pb2_grpc.EnhanceServiceStub(channel)
        self.blobs = BlobStore.open("", home)

    async def put(self, pixels: Pixels) -> MediaRef:
        data = await images.encode_png(pixels)
        return await self.blobs.put(
            data, media_type="image/png", width=pixels.shape[1], height=pixels.shape[0]
        )

    def start(
        self, source: MediaRef, *operations: EnhancementOperation
    ) -> "grpc.aio.UnaryStreamCall[pb.EnhanceImageRequest, pb.EnhanceImageResponse]":
        request = pb.EnhanceImageRequest(spec=EnhancementSpec(source=source, operations=operations))
        return self.stub.EnhanceImage(request, timeout=100)

    async def run(
        self, source: MediaRef, *operations: EnhancementOperation
    ) -> tuple[list[tuple[int, int]], MediaRef]:
        """All steps as (k, n), and the result, which must come last and once."""
        steps, image = await self.follow(source, *operations)
        assert all(step.stage == STAGE_UPSCALE for step in steps)
        return [(step.k, step.n) for step in steps], image

    async def follow(
        self, source: MediaRef, *operations: EnhancementOperation
    ) -> tuple[list[Step], MediaRef]:
        """All steps as they came, one of which ends each operation, and the result, which comes last and once."""
        *steps, last = [event async for event in self.start(source, *operations)]
        assert last.WhichOneof("event") == "image"
        assert sum(event.step.k == event.step.n for event in steps) == len(operations)
        return [event.step for event in steps], last.image

    async def pixels(self, media: MediaRef) -> Pixels:
        return await images.decode_rgba(await self.blobs.get(media))


@asynccontextmanager
async def enhance_over(
    triton: str, home: Path, models_address: str = NOBODY, **settings: Any
) -> AsyncIterator[Enhance]:
    chosen = Settings(home=home, triton_address=triton, models_address=models_address, **settings)
    async with serve(spec(chosen)) as server, connect(server.address) as channel:
        yield Enhance(channel, home)


@asynccontextmanager
async def models_over(triton: str, home: Path) -> AsyncIterator[str]:
    """Run a models server for what is built in a home, and yield its address."""
    async with serve(models_spec(ModelsSettings(home=home, triton_address=triton))) as server:
        yield server.address


@pytest.fixture
async def enhance(triton: Triton, tmp_path: Path) -> AsyncIterator[Enhance]:
    async with (
        models_over(triton.grpc_address, BUILD_HOME) as models,
        enhance_over(
            triton.grpc_address, tmp_path, models, face_restorers=("face_restoration_gfpgan", TWIN)
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def twin() -> None:
    """A face restoration model with random weights, built; Triton loads it when it is asked for."""
    face_twins.build(TWIN)


def to_size(width: int, height: int, variant: str = "") -> EnhancementOperation:
    return EnhancementOperation(upscale=Upscale(size=PixelSize(width=width, height=height), variant=variant))


def restoring(fidelity: float = 0) -> EnhancementOperation:
    return EnhancementOperation(restore_faces=RestoreFaces(fidelity=fidelity))


def photograph() -> Pixels:
    picture: Pixels = np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    return picture


def by(factor: int, variant: str = "") -> EnhancementOperation:
    return EnhancementOperation(upscale=Upscale(factor=factor, variant=variant))


async def refusal(call: AsyncIterable[pb.EnhanceImageResponse]) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    return MeshError.from_rpc(caught.value, "enhance")


async def test_an_icon_reaches_its_size_step_by_step(enhance: Enhance) -> None:
    source = await enhance.put(icon(64))
    steps, media = await enhance.run(source, to_size(512, 512))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert (media.width, media.height, media.media_type, media.frames) == (512, 512, "image/png", 1)
    result = (await enhance.pixels(media))[..., :3].astype(int)
    truth = icon(512).astype(int)
    assert np.abs(result - truth).mean() < 4  # the same picture: of 255 levels
    assert np.abs(result[:8, :8] - 252).max() <= 6  # its ground is still near-white


async def test_another_shape_centres_the_picture_and_continues_its_ground(enhance: Enhance) -> None:
    source = await enhance.put(icon(64))
    _, square = await enhance.run(source, to_size(256, 256))
    _, wide = await enhance.run(source, to_size(600, 256))
    pixels, inner = await enhance.pixels(wide), await enhance.pixels(square)
    assert pixels.shape[:2] == (256, 600)
    assert (pixels[:, 172 : 172 + 256] == inner).all()
    assert np.abs(pixels[:, :100, :3].astype(int) - 252).max() <= 6


@pytest.mark.parametrize("factor", [2, 4])
async def test_factors(enhance: Enhance, factor: int) -> None:
    _, media = await enhance.run(await enhance.put(icon(64)[:40]), by(factor))
    assert (media.width, media.height) == (64 * factor, 40 * factor)


async def test_operations_follow_one_another_with_either_network(enhance: Enhance) -> None:
    source = await enhance.put(icon(16))
    steps, media = await enhance.run(source, by(2, "x4plus-anime"), by(2, "compact"))
    assert steps == [(1, 2), (2, 2)] * 2
    assert (media.width, media.height) == (64, 64)


async def test_transparency_is_kept_and_hides_no_dark_fringe(enhance: Enhance) -> None:
    picture = np.zeros((48, 48, 4), np.uint8)  # transparent black around an opaque orange square
    picture[12:36, 12:36] = (250, 160, 40, 255)
    _, media = await enhance.run(await enhance.put(picture), by(4))
    result = await enhance.pixels(media)
    assert result[0, 0, 3] == 0
    assert result[96, 96, 3] == 255
    assert result[result[..., 3] > 8][:, 0].min() > 180


async def test_equal_requests_give_equal_files(enhance: Enhance) -> None:
    source = await enhance.put(icon(64))
    results = [await enhance.run(source, to_size(300, 256)) for _ in range(2)]
    assert results[0] == results[1]


async def test_a_picture_of_its_size_already_is_left_as_it_is(enhance: Enhance) -> None:
    (step,), media = await enhance.follow(await enhance.put(icon(64)), to_size(64, 64))
    assert (step.k, step.n, step.note) == (1, 1, "nothing to do")
    assert (await enhance.pixels(media))[..., :3].tolist() == icon(64).tolist()


@pytest.mark.parametrize(
    ("operations", "reason", "field"),
    [
        (
            [by(2), EnhancementOperation(interpolate=Interpolate(fps=60))],
            "UNIMPLEMENTED",
            "operations[1].interpolate",
        ),
        ([restoring(1.5)], "FIELD_INVALID", "restore_faces.fidelity"),
        ([by(4), by(4), by(4), by(4)], "FIELD_INVALID", "operations[3].upscale.factor"),
        ([to_size(9000, 10)], "FIELD_INVALID", "size.width"),
        ([by(3)], "FIELD_INVALID", "factor"),
        ([by(2, "best")], "FIELD_INVALID", "variant"),
        ([], "FIELD_INVALID", "operations"),
    ],
)
async def test_what_cannot_be_done_is_refused_before_any_work(
    tmp_path: Path, operations: list[EnhancementOperation], reason: str, field: str
) -> None:
    async with enhance_over(NOBODY, tmp_path) as enhance:  # no Triton: any work would fail otherwise
        error = await refusal(enhance.start(await enhance.put(icon(64)), *operations))
    assert error.name == reason
    assert field in error.message


async def test_without_a_restoration_model_the_command_that_brings_one_is_told(tmp_path: Path) -> None:
    async with models_over(NOBODY, tmp_path) as models, enhance_over(NOBODY, tmp_path, models) as enhance:
        error = await refusal(enhance.start(await enhance.put(icon(64)), by(2), restoring()))
    assert error.name == "MODEL_NEEDS_WEIGHTS"
    assert "vmesh models build" in error.message


async def test_each_way_to_a_restoration_model_is_told_with_its_licence(
    triton: Triton, tmp_path: Path
) -> None:
    """Where faces can be found and not restored; no pass was begun for it."""
    async with (
        models_over(triton.grpc_address, BUILD_HOME) as models,
        enhance_over(NOBODY, tmp_path, models) as enhance,
    ):
        error = await refusal(enhance.start(await enhance.put(icon(64)), by(2), restoring()))
    assert error.name == "MODEL_NEEDS_WEIGHTS"
    assert "vmesh models build face_restoration_gfpgan --weights" in error.message
    assert "vmesh models build face_restoration_codeformer" in error.message
    assert "LicenseRef-S-Lab-1.0) is not for commercial use" in error.message


async def test_without_the_models_server_nothing_is_begun(tmp_path: Path) -> None:
    async with enhance_over(NOBODY, tmp_path) as enhance:
        error = await refusal(enhance.start(await enhance.put(icon(64)), DENOISE))
    assert error.name == "DEPENDENCY_UNAVAILABLE"


async def test_a_picture_without_faces_passes_unchanged_and_says_so(enhance: Enhance, twin: None) -> None:
    picture = np.dstack([icon(96), np.arange(96, dtype=np.uint8).repeat(96).reshape(96, 96)])
    (step,), media = await enhance.follow(await enhance.put(picture), restoring())
    assert (step.stage, step.k, step.n, step.note) == (STAGE_RESTORE_FACES, 1, 1, "no face found")
    assert (await enhance.pixels(media) == picture).all()


async def test_a_face_is_restored_where_it_is_and_nothing_else_is_touched(
    enhance: Enhance, twin: None
) -> None:
    """The restorer's weights are random: what it makes of a face is a colourful nothing, in the right place."""
    picture = photograph()
    (step,), media = await enhance.follow(await enhance.put(picture), restoring())
    assert step.note == f"1 face by {TWIN}"
    result = (await enhance.pixels(media))[..., :3]
    changed = np.argwhere(np.abs(result.astype(int) - picture).max(2) > 8)
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert (40 < top < 70, 165 < left < 190, 160 < bottom < 190, 260 < right < 285) == (True,) * 4
    assert (result[:, 300:] == picture[:, 300:]).all()
    assert (result[200:] == picture[200:]).all()
    _, faithful = await enhance.follow(await enhance.put(picture), restoring(1.0))
    assert np.abs((await enhance.pixels(faithful))[..., :3].astype(int) - picture).max() <= 1


async def test_operations_in_any_order_keep_alpha(enhance: Enhance, twin: None) -> None:
    picture = photograph()[:256, 64:320]
    alpha = np.zeros((256, 256), np.uint8)
    alpha[20:236, 20:236] = 255
    source = await enhance.put(np.dstack([picture, alpha]))
    steps, media = await enhance.follow(source, restoring(), DENOISE, by(2), restoring(0.5))
    assert [step.stage for step in steps if step.k == step.n] == [
        STAGE_RESTORE_FACES,
        STAGE_DENOISE,
        STAGE_UPSCALE,
        STAGE_RESTORE_FACES,
    ]
    result = await enhance.pixels(media)
    assert result.shape == (512, 512, 4)
    assert (result[60:450, 60:450, 3] == 255).all()
    assert result[:30, :, 3].max() == 0


async def test_a_picture_is_turned_as_its_orientation_says(enhance: Enhance) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    out = io.BytesIO()
    Image.fromarray(icon(32)[:20]).save(out, "JPEG", exif=exif, quality=95)
    source = await enhance.blobs.put(out.getvalue(), media_type="image/jpeg", width=32, height=20)
    _, media = await enhance.run(source, by(2))
    assert (media.width, media.height) == (40, 64)


async def test_a_source_that_is_not_there_or_no_picture_is_refused(tmp_path: Path) -> None:
    async with enhance_over(NOBODY, tmp_path) as enhance:
        missing = MediaRef(uri=f"blob:{'0' * 64}", sha256="0" * 64)
        assert (await refusal(enhance.start(missing, by(2)))).name == "NOT_FOUND"
        text = await enhance.blobs.put(b"not a picture", media_type="image/png")
        assert (await refusal(enhance.start(text, by(2)))).name == "MEDIA_INVALID"


async def test_without_triton_the_model_is_unavailable_with_a_time_to_wait(tmp_path: Path) -> None:
    async with enhance_over(NOBODY, tmp_path) as enhance:
        error = await refusal(enhance.start(await enhance.put(icon(64)), by(2)))
    assert error.name == "MODEL_UNAVAILABLE"
    assert error.retry_after


async def test_a_full_room_refuses_at_once(triton: Triton, tmp_path: Path) -> None:
    async with enhance_over(triton.grpc_address, tmp_path, running=1, waiting=1) as enhance:
        source = await enhance.put(icon(1024))
        calls = [enhance.start(source, by(4)) for _ in range(3)]  # one runs for 20 s, one waits for it
        told = [
            asyncio.create_task(refusal(call)) for call in calls
        ]  # which one is refused is nobody's promise
        refused, _ = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        (error,) = [task.result() for task in refused]
        for call in calls:
            call.cancel()
        await asyncio.gather(*told, return_exceptions=True)
    assert error.name == "OVERLOADED"
    assert error.retry_after
    assert error.queue_position == 2
    await to_rest(triton)


async def to_rest(triton: Triton) -> None:
    """Wait for the tile under way, then see that a second goes by without work."""
    for _ in range(8):
        before = processor_seconds(triton.pid or 0)
        await asyncio.sleep(1)
        if processor_seconds(triton.pid or 0) - before < IDLE:
            return
    pytest.fail("Triton goes on working")


async def test_cancelling_stops_the_model_and_frees_the_place(triton: Triton, tmp_path: Path) -> None:
    async with enhance_over(triton.grpc_address, tmp_path, running=1, waiting=0) as enhance:
        before = processor_seconds(triton.pid or 0)
        long = enhance.start(await enhance.put(icon(1024)), by(4))  # 16 tiles, 20 s and more
        while processor_seconds(triton.pid or 0) - before < 0.5:
            await asyncio.sleep(0.05)
        long.cancel()
        await to_rest(triton)
        assert processor_seconds(triton.pid or 0) - before < 12
        await enhance.run(await enhance.put(icon(16)), by(4))  # there is one place only


async def test_a_deadline_ends_the_work(triton: Triton, enhance: Enhance) -> None:
    source = await enhance.put(icon(1024))
    request = pb.EnhanceImageRequest(spec=EnhancementSpec(source=source, operations=[by(4)]))
    error = await refusal(enhance.stub.EnhanceImage(request, timeout=1.0))
    assert error.name == "DEADLINE_EXCEEDED"
    await to_rest(triton)
