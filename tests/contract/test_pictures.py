"""CheckImage and CheckFrames over gRPC, before panels that do as they are told."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs

from scrollintel.visual.v1 import safety_finding_pb2, safety_pb2, safety_pb2_grpc
from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceStub
from scrollintel.visual.v1.media_pb2 import FrameChunk, MediaRef
from services.orchestrator.service import spec as orchestrator
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import Family, MeshError
from services.runtime.images import encode_png
from services.runtime.server import serve
from services.safety import service
from services.safety.pictures.checker import NeedsWeights, PictureChecker, Pixels, Shown
from services.safety.settings import Settings
from tests.contract.scripted_mesh import Everyone, everyone
from tests.contract.scripted_mesh import settings as orchestrated
from tests.unit.orchestrator.scripted import ScriptedSteps, image_request
from tests.unit.safety.checkers import CALM, GREY, RED, Scripted, SeesRed, never

LONG = 30.0
BLOCK = safety_finding_pb2.SAFETY_ACTION_BLOCK


@pytest.fixture
def panelled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Serve safety with the checkers that are given."""

    @asynccontextmanager
    async def serving(
        *checkers: PictureChecker, **settings: Any
    ) -> AsyncIterator["safety_pb2_grpc.SafetyServiceAsyncStub"]:
        monkeypatch.setattr(service, "checkers", lambda *_: list(checkers))
        given = Settings.model_validate({"home": tmp_path, "triton_address": "127.0.0.1:1", **settings})
        async with serve(service.spec(given)) as server, connect(server.address) as channel:
            yield safety_pb2_grpc.SafetyServiceStub(channel)

    return serving


@pytest.fixture
async def picture(tmp_path: Path) -> MediaRef:
    return await BlobStore.open("", tmp_path).put(await encode_png(GREY), media_type="image/png")


def sent(frames: Sequence[Pixels], **values: Any) -> list[safety_pb2.CheckFramesRequest]:
    """A video as the requests of one call."""
    height, width = frames[0].shape[:2]
    layout = {"width": width, "height": height, "pixel_format": "PIXEL_FORMAT_RGB24"}
    return [
        safety_pb2.CheckFramesRequest(
            frame=FrameChunk(
                **{
                    **layout,
                    "codec": "FRAME_CODEC_RAW",
                    "index": index,
                    "data": frame.tobytes(),
                    "last": True,
                    **values,
                }
            )
        )
        for index, frame in enumerate(frames)
    ]


async def events_of(stub: Any) -> list[Any]:
    return [response.event async for response in stub.Generate(image_request(), timeout=LONG)]


async def refusal(call: Any) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return MeshError.from_rpc(caught.value, "safety")


async def test_a_generation_is_refused_when_any_checker_could_not_look(
    panelled: Any, picture: MediaRef
) -> None:
    broken = Scripted("writing/1")
    async with panelled(Scripted("nsfw/1"), broken, Scripted("works/1")) as safety:

        class Checked(Everyone):
            async def CheckImage(self, request: Any, context: Any) -> safety_pb2.CheckImageResponse:
                return await safety.CheckImage(safety_pb2.CheckImageRequest(image=picture), timeout=LONG)

        async with (
            everyone(Checked(ScriptedSteps())) as others,
            serve(orchestrator(orchestrated(others.address, grace_seconds=0))) as server,
            connect(server.address) as channel,
        ):
            stub = GenerationServiceStub(channel)
            passed = await events_of(stub)
            refused = []
            for broken.opinion, broken.before, broken.seconds in (
                (ConnectionError("killed"), None, LONG),
                (CALM, never, 0.05),  # slowed
                ("nonsense", None, LONG),
            ):
                refused.append(await events_of(stub))
    assert passed[-1].WhichOneof("event") == "completed"
    for events in refused:
        error = MeshError.from_status(events[-1].failed.status)
        assert (error.family, error.name) == (Family.SAFETY, "SAFETY_UNCHECKED")
        assert "could not be checked for safety by writing/1" in error.message
        assert "output" not in [event.WhichOneof("event") for event in events]


async def test_a_slot_without_weights_is_told_and_refuses_nothing(panelled: Any, picture: MediaRef) -> None:
    async with panelled(Scripted("nsfw/1"), Scripted("violence/1", NeedsWeights())) as safety:
        answer = await safety.CheckImage(safety_pb2.CheckImageRequest(image=picture), timeout=LONG)
    assert list(answer.verdict.checks) == ["nsfw/1"]
    assert answer.verdict.check_results[1] == safety_pb2.SafetyCheck(
        checker="violence/1", status=safety_pb2.SAFETY_CHECK_STATUS_NEEDS_WEIGHTS
    )
    assert answer.safety_score == 1


async def test_a_picture_with_transparency_is_looked_at_over_white_and_over_black(
    panelled: Any, picture: MediaRef, tmp_path: Path
) -> None:
    clear = np.dstack([RED, np.zeros(RED.shape[:2], np.uint8)])
    stored = await BlobStore.open("", tmp_path).put(await encode_png(clear), media_type="image/png")
    checker = SeesRed()
    async with panelled(checker, Scripted("violence/1", NeedsWeights())) as safety:
        answer = await safety.CheckImage(safety_pb2.CheckImageRequest(image=stored), timeout=LONG)
        await safety.CheckImage(safety_pb2.CheckImageRequest(image=picture), timeout=LONG)
    assert checker.saw == [255, 0, 128], "one without is looked at once"
    assert [finding.evidence for finding in answer.verdict.findings] == ["red 255"]
    assert [check.status for check in answer.verdict.check_results] == [1, 3]


async def test_a_picture_takes_no_longer_than_it_may(panelled: Any, picture: MediaRef) -> None:
    async with panelled(Scripted("slow/1", before=never), picture_seconds=0.2) as safety:
        error = await refusal(safety.CheckImage(safety_pb2.CheckImageRequest(image=picture), timeout=LONG))
    assert error.name == "SAFETY_UNCHECKED"


async def test_a_bad_frame_between_samples_is_blocked_and_named(panelled: Any) -> None:
    frames = [GREY] * 40
    frames[17] = RED
    messages = sent(frames)
    for message in messages:
        message.frame.index *= 2  # the caller's own count, which may have gaps
    async with panelled(SeesRed(), Scripted("violence/1", NeedsWeights())) as safety:
        answer = await safety.CheckFrames(iter(messages), timeout=LONG)
    (finding,) = answer.verdict.findings
    assert (answer.verdict.action, finding.evidence) == (BLOCK, "frame 34: red 220")
    assert answer.safety_score == pytest.approx(1 - 220 / 255)
    assert (answer.frames, answer.frames_checked) == (40, 6)
    assert [check.status for check in answer.verdict.check_results] == [1, 3]


async def test_frames_are_taken_by_their_own_time(panelled: Any) -> None:
    messages = sent([GREY] * 9)
    for number, message in enumerate(messages):
        message.frame.pts.CopyFrom(Duration(nanos=number * 125_000_000 % 10**9, seconds=number // 8))
    async with panelled(SeesRed()) as safety:
        answer = await safety.CheckFrames(iter(messages), timeout=LONG)
    assert (answer.frames, answer.frames_checked) == (9, 3)


async def test_a_frame_that_could_not_be_checked_refuses_the_video(panelled: Any) -> None:
    """As soon as that is known: the rest of the frames never comes."""

    async def first() -> AsyncIterator[safety_pb2.CheckFramesRequest]:
        yield sent([GREY])[0]
        await never()

    async with panelled(SeesRed(), Scripted("writing/1", ConnectionError())) as safety:
        error = await refusal(safety.CheckFrames(first(), timeout=LONG))
    assert error.name == "SAFETY_UNCHECKED"
    assert error.message.startswith("frame 0 could not be checked for safety by writing/1")


async def test_a_video_that_breaks_a_rule_is_refused_and_the_room_is_free_again(panelled: Any) -> None:
    async def silent() -> AsyncIterator[safety_pb2.CheckFramesRequest]:
        yield sent([GREY])[0]
        await never()

    async with panelled(SeesRed(), videos=1, videos_waiting=0, idle_seconds=0.5) as safety:
        broken = (sent([GREY], data=b"x"), sent([GREY] * 2, index=4), [], silent())
        refused = [await refusal(safety.CheckFrames(messages, timeout=LONG)) for messages in broken]
        answer = await safety.CheckFrames(iter(sent([GREY] * 2)), timeout=LONG)
    assert answer.frames_checked == 2
    assert [error.field for error in refused] == ["frame.data", "frame.index", "frame", ""]
    assert refused[3].name == "DEADLINE_EXCEEDED"
    assert "no message of the video" in refused[3].message


async def test_a_full_room_refuses_a_video_at_once(panelled: Any) -> None:
    checker = Scripted("slow/1", before=never)
    async with panelled(checker, videos=1, videos_waiting=0) as safety:
        held = asyncio.ensure_future(safety.CheckFrames(iter(sent([GREY])), timeout=LONG))
        async with asyncio.timeout(LONG):
            while not checker.looked:
                await asyncio.sleep(0.01)
        error = await refusal(safety.CheckFrames(iter(sent([GREY])), timeout=LONG))
        held.cancel()
        async with asyncio.timeout(LONG):
            await checker.stopped.wait()
    assert error.name == "OVERLOADED"


async def test_a_picture_that_is_refused_is_let_go_at_once(panelled: Any, picture: MediaRef) -> None:
    """Left to the collector, sixteen large ones that nothing could check were 5 GB."""
    held = list[weakref.ref[Pixels]]()

    class Broken(Scripted):
        async def check(self, shown: Shown) -> Any:
            held.append(weakref.ref(shown.pixels))
            return await super().check(shown)

    gc.collect()
    gc.disable()
    try:
        async with panelled(Broken("broken/1", ConnectionError())) as safety:
            with capture_logs():  # structlog's own way to print a traceback holds what it prints
                await refusal(safety.CheckImage(safety_pb2.CheckImageRequest(image=picture), timeout=LONG))
                async with asyncio.timeout(LONG):
                    while held[0]() is not None:
                        await asyncio.sleep(0.01)
    finally:
        gc.enable()
