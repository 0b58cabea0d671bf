"""QualityService through a real server, with the real Triton and without one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from scrollintel.visual import Media, PromptError, VisualClient
from scrollintel.visual.v1 import quality_pb2 as pb
from scrollintel.visual.v1 import quality_pb2_grpc
from scrollintel.visual.v1.media_pb2 import FrameChunk, MediaRef
from services.local.triton import Triton
from services.quality.charts import Charts
from services.quality.scoring import WEIGHTS
from services.quality.service import spec
from services.quality.settings import Settings
from services.quality.tables import open_tables
from services.runtime import identity, images
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve
from tests.unit.quality.moving import glide, shuffled
from tests.unit.quality.pictures import Pixels, as_jpeg, blurred, icon, noisy, photograph

NOBODY = "127.0.0.1:1"
MEASURED = {"technical", "sharpness", "color_balance", "composition"}
DETAILS = {"noise", "blockiness", "banding", "exposure"}
OF_PHOTOGRAPHS = {"naturalness"}


class Quality:
    """A running quality server, its client and its store."""

    def __init__(self, address: str, channel: grpc.aio.Channel, home: Path) -> None:
        self.address = address
        self.stub = quality_pb2_grpc.QualityServiceStub(channel)
        self.blobs = BlobStore.open("", home)

    async def put(self, pixels: Pixels) -> MediaRef:
        return await self.blobs.put(await images.encode_png(pixels), media_type="image/png")

    async def score(self, image: MediaRef, prompt: str = "") -> pb.QualityMetrics:
        request = pb.ScoreImageRequest(image=image, prompt=prompt)
        return (await self.stub.ScoreImage(request, timeout=20)).metrics

    async def remember(self, image: MediaRef, tenant: str = "me") -> pb.QualityMetrics:
        request = pb.ScoreImageRequest(image=image, remember=True)
        with identity.acting_as(identity.Identity(tenant)):
            return (await self.stub.ScoreImage(request, timeout=20)).metrics


@asynccontextmanager
async def quality_over(triton: str, home: Path, **settings: Any) -> AsyncIterator[Quality]:
    chosen = Settings(home=home, triton_address=triton, **settings)
    async with serve(spec(chosen)) as server, connect(server.address) as channel:
        yield Quality(server.address, channel, home)


@pytest.fixture
async def quality(tmp_path: Path) -> AsyncIterator[Quality]:
    async with quality_over(NOBODY, tmp_path) as running:
        yield running


def present(metrics: pb.QualityMetrics) -> dict[str, float]:
    return {field.name: value.value for field, value in metrics.ListFields()}


async def refusal(quality: Quality, image: MediaRef, prompt: str = "") -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await quality.score(image, prompt)
    return MeshError.from_rpc(caught.value, "quality")


@pytest.mark.parametrize(
    ("picture", "technical_by", "more"),
    [
        (photograph("astronaut"), "brisque+banding+exposure/2", OF_PHOTOGRAPHS),
        (icon(), "artifacts+banding+exposure/2", set()),
    ],
)
async def test_a_picture_is_scored_and_what_was_not_measured_is_absent(
    quality: Quality, picture: Pixels, technical_by: str, more: set[str]
) -> None:
    metrics = await quality.score(
        await quality.put(picture), "a prompt that nothing can match without the models"
    )
    scores = present(metrics)
    assert set(scores) == MEASURED | DETAILS | more | {"overall"}
    assert all(0 <= value <= 1 for value in scores.values())
    assert metrics.technical.measured_by == technical_by
    weights = {name: WEIGHTS[name] for name in MEASURED}
    mean = sum(weights[name] * scores[name] for name in MEASURED) / sum(weights.values())
    assert scores["overall"] == pytest.approx(mean)


async def test_spoiling_a_picture_lowers_its_scores(quality: Quality) -> None:
    clean = present(await quality.score(await quality.put(photograph("chelsea"))))
    soft = present(await quality.score(await quality.put(blurred(photograph("chelsea"), 3))))
    grainy = present(await quality.score(await quality.put(noisy(photograph("chelsea"), 30))))
    assert soft["sharpness"] < clean["sharpness"] - 0.3
    assert soft["technical"] < clean["technical"] - 0.3
    assert grainy["technical"] < clean["technical"] - 0.3
    assert max(soft["overall"], grainy["overall"]) < clean["overall"]


async def test_the_same_picture_gets_the_same_scores(quality: Quality) -> None:
    image = await quality.put(icon())
    assert await quality.score(image) == await quality.score(image)


async def test_a_plain_picture_has_no_sharpness_and_no_subject(quality: Quality) -> None:
    scores = present(await quality.score(await quality.put(np.full((64, 64, 3), 200, np.uint8))))
    assert not {"sharpness", "composition"} & set(scores)


async def test_what_cannot_be_scored_is_refused(quality: Quality) -> None:
    assert (await refusal(quality, MediaRef(uri=f"blob:{'0' * 64}", sha256="0" * 64))).name == "NOT_FOUND"
    text = await quality.blobs.put(b"not a picture", media_type="image/png")
    assert (await refusal(quality, text)).name == "MEDIA_INVALID"
    image = await quality.put(icon(64))
    assert (await refusal(quality, image, "x" * 4001)).field == "prompt"


async def test_a_matcher_that_is_not_there_costs_its_score_and_nothing_else(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text('{"slope": 10, "offset": -3}')
    async with quality_over(NOBODY, tmp_path, calibration=calibration) as quality:
        scores = present(await quality.score(await quality.put(icon()), "a smiling ball"))
    assert set(scores) == MEASURED | DETAILS | {"overall"}


async def test_a_broken_calibration_stops_the_start(tmp_path: Path) -> None:
    calibration = tmp_path / "calibration.json"
    calibration.write_text("{}")
    with pytest.raises(ValueError, match="slope"):
        async with quality_over(NOBODY, tmp_path, calibration=calibration):
            pass


async def test_a_picture_that_shows_the_prompt_scores_above_others(
    triton: Triton, model_repository: Path, tmp_path: Path
) -> None:
    calibration = model_repository / "image_text_matcher" / "1" / "calibration.json"
    apple = icon().copy()
    apple[(apple[..., 0] > 100) & (apple[..., 2] < 150)] = (205, 35, 40)
    async with quality_over(triton.grpc_address, tmp_path, calibration=calibration) as quality:
        image = await quality.put(apple)
        scores = {
            prompt: await quality.score(image, prompt)
            for prompt in ("red circle", "a blue car", "green tree")
        }
        assert {metrics.prompt_adherence.measured_by for metrics in scores.values()} == {
            "image_text_matcher/1"
        }
        best = max(scores, key=lambda prompt: scores[prompt].prompt_adherence.value)
        assert best == "red circle"
        assert not (await quality.score(image)).HasField("prompt_adherence")


async def test_a_result_is_unique_among_the_tenants_earlier_ones(
    triton: Triton, model_repository: Path, tmp_path: Path
) -> None:
    calibration = model_repository / "image_text_matcher" / "1" / "calibration.json"
    async with quality_over(triton.grpc_address, tmp_path, calibration=calibration) as quality:
        cat, copy, coffee = [
            await quality.put(picture)
            for picture in (
                photograph("chelsea"),
                as_jpeg(photograph("chelsea"), 60),
                photograph("coffee"),
            )
        ]
        first = await quality.remember(cat)
        assert not first.HasField("uniqueness"), "there is nothing to be like yet"
        assert (await quality.remember(coffee)).uniqueness.value > 0.5
        assert (await quality.remember(copy)).uniqueness.value < 0.1
        assert (await quality.remember(cat)) == first, "what came later takes nothing from it"
        assert not (await quality.remember(copy, tenant="stranger")).HasField("uniqueness")


async def test_what_is_not_remembered_leaves_no_trace(
    triton: Triton, model_repository: Path, tmp_path: Path
) -> None:
    calibration = model_repository / "image_text_matcher" / "1" / "calibration.json"
    async with quality_over(triton.grpc_address, tmp_path, calibration=calibration) as quality:
        image = await quality.put(icon())
        await quality.score(image)
        other = await quality.score(await quality.put(noisy(icon(), 3)))
        assert not other.HasField("uniqueness")


async def test_a_models_scores_are_followed_over_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        async with quality_over(NOBODY, tmp_path) as quality:
            request = pb.ScoreImageRequest(image=await quality.put(icon(64)), model="house")
            for _ in range(10):
                await quality.stub.ScoreImage(request, timeout=20)
    async with open_tables(Settings(home=tmp_path).tables_url) as database:
        drift = await Charts(database).load()
    assert {name: chart.count for name, chart in drift.charts.items()} == {
        ("house", "overall"): 20,
        ("house", "technical"): 20,
    }


async def test_a_full_room_refuses_at_once_and_the_others_are_scored(tmp_path: Path) -> None:
    async with quality_over(NOBODY, tmp_path, threads=1, waiting=1) as quality:
        image = await quality.put(icon(1024))
        ends = await asyncio.gather(*(quality.score(image) for _ in range(20)), return_exceptions=True)
    refused = [MeshError.from_rpc(end, "quality") for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    scored = [end for end in ends if isinstance(end, pb.QualityMetrics)]
    assert len(refused) + len(scored) == 20
    assert scored
    assert refused
    assert {error.name for error in refused} == {"OVERLOADED"}
    assert all(error.retry_after for error in refused)


def sent(frames: Sequence[Pixels], prompt: str = "", **values: Any) -> list[pb.ScoreVideoRequest]:
    """A video as the requests of one call."""
    height, width = frames[0].shape[:2]
    layout = {
        "width": width,
        "height": height,
        "pixel_format": "PIXEL_FORMAT_RGB24",
        "codec": "FRAME_CODEC_RAW",
    }
    return [
        pb.ScoreVideoRequest(
            frame=FrameChunk(**{**layout, "index": index, "data": frame.tobytes(), "last": True, **values}),
            prompt="" if index else prompt,
        )
        for index, frame in enumerate(frames)
    ]


async def test_a_video_is_scored_by_its_frames(quality: Quality) -> None:
    clean = (await quality.stub.ScoreVideo(sent(glide(frames=12)), timeout=20)).metrics
    mixed = (await quality.stub.ScoreVideo(sent(shuffled(glide(frames=12, speed=3), 1)), timeout=20)).metrics
    scores, worse = present(clean), present(mixed)
    assert set(scores) == {"overall", "temporal_consistency", "motion_smoothness", "frame_quality"}
    assert scores["temporal_consistency"] > worse["temporal_consistency"] + 0.05
    assert scores["motion_smoothness"] > worse["motion_smoothness"] + 0.3
    assert scores["overall"] > worse["overall"]
    assert clean.temporal_consistency.measured_by == "flow-warp/1"


async def test_a_video_that_cannot_be_scored_is_refused_and_the_room_is_free_again(tmp_path: Path) -> None:
    refused = []
    async with quality_over(NOBODY, tmp_path, videos=1, videos_waiting=0, idle_seconds=0.5) as quality:

        async def silent() -> AsyncIterator[pb.ScoreVideoRequest]:
            yield sent(glide(frames=1))[0]
            await asyncio.sleep(20)

        broken = (
            sent(glide(frames=1), data=b"x"),
            sent(glide(frames=2), index=4),
            sent(glide(frames=1), pixel_format="PIXEL_FORMAT_UNSPECIFIED"),
            [],
            silent(),
        )
        for requests in broken:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await quality.stub.ScoreVideo(requests, timeout=20)
            refused.append(MeshError.from_rpc(caught.value, "quality"))
        assert present((await quality.stub.ScoreVideo(sent(glide(frames=3)), timeout=20)).metrics)
    assert [error.field for error in refused] == [
        "frame.data",
        "frame.index",
        "frame.pixel_format",
        "frame",
        "",
    ]
    assert refused[-1].name == "DEADLINE_EXCEEDED"


async def test_two_pictures_are_compared(quality: Quality) -> None:
    clean, soft = photograph("chelsea"), blurred(photograph("chelsea"), 2)
    media = [Media.read(await quality.put(picture)) for picture in (clean, soft, clean[:100])]
    async with VisualClient(quality.address) as client:
        same = await client.compare_images(media[0], media[0])
        further = await client.compare_images(media[0], media[1])
        with pytest.raises(PromptError, match="451 × 100 pixels, and the reference 451 × 300") as refused:
            await client.compare_images(media[0], media[2])
    assert same.psnr_db == float("inf")
    assert same.ssim > 0.999 > further.ssim
    assert further.ms_ssim is not None
    assert same.gmsd < 0.001 < further.gmsd
    assert same.color_difference < further.color_difference
    assert refused.value.field == "candidate"
    assert refused.value.reason == "FIELD_INVALID"


async def test_what_is_no_picture_is_not_compared(quality: Quality) -> None:
    image = await quality.put(icon(64))
    text = await quality.blobs.put(b"not a picture", media_type="image/png")
    for candidate, name in (
        (text, "MEDIA_INVALID"),
        (MediaRef(uri=f"blob:{'0' * 64}", sha256="0" * 64), "NOT_FOUND"),
    ):
        request = pb.CompareImagesRequest(reference=image, candidate=candidate)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await quality.stub.CompareImages(request, timeout=20)
        assert MeshError.from_rpc(caught.value, "quality").name == name
