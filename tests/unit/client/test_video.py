"""Videos on their way to be scored: out of arrays and of files, to a server of our own."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest
from grpc_status import rpc_status

from scrollintel.visual import (
    MediaError,
    MeshUnavailableError,
    PromptError,
    ResourceError,
    VisualClient,
    frames,
)
from scrollintel.visual.v1 import media_pb2, quality_pb2
from scrollintel.visual.v1.quality_pb2_grpc import (
    QualityServiceServicer,
    add_QualityServiceServicer_to_server,
)
from services.runtime.frames import Frames, Limits
from tests.unit.client.scripted import status

LARGE = (700, 600)  # more than a chunk a frame


@dataclass
class Scorer(QualityServiceServicer):
    """Puts the frames together as the quality server does."""

    refuses_after: int | None = None
    pictures: list[Any] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def shown(self, first: Any, *others: Any) -> AsyncIterator[Any]:
        """Yield arrays, all but the first once the server has begun: a call that ends before leaves no trace there."""
        yield first
        async with asyncio.timeout(20):
            await self.begun.wait()
        for array in others:
            yield array

    async def ScoreVideo(self, requests: AsyncIterator[Any], context: Any) -> Any:  # type: ignore[override]
        gathered = Frames(Limits(frames=100, pixels=10**7))
        self.begun.set()
        try:
            async for message in requests:
                self.prompts.append(message.prompt)
                picture = await gathered.add(message.frame)
                if picture is not None:
                    self.pictures.append(picture)
                if self.refuses_after == len(self.pictures):
                    refusal = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "OVERLOADED")
                    await context.abort_with_status(rpc_status.to_status(refusal))
        finally:
            self.left.set()
        score = quality_pb2.Score(value=0.5, measured_by="count/1")
        return quality_pb2.ScoreVideoResponse(metrics=quality_pb2.QualityMetrics(overall=score))


@asynccontextmanager
async def scoring(scorer: Scorer) -> AsyncIterator[VisualClient]:
    server = grpc.aio.server()
    add_QualityServiceServicer_to_server(scorer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with VisualClient(f"127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        await server.stop(0)


def pictures(count: int, size: tuple[int, int] = (20, 30), channels: int = 3) -> list[Any]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (*size, channels), np.uint8) for _ in range(count)]


async def slowly(arrays: list[Any]) -> AsyncIterator[Any]:
    for array in arrays:
        await asyncio.sleep(0)
        yield array


@pytest.mark.parametrize("size", [(20, 30), LARGE])
async def test_arrays_arrive_as_they_were_and_the_prompt_once(size: tuple[int, int]):
    sent = pictures(3, size)
    async with scoring(scorer := Scorer()) as client:
        quality = await client.score_video(sent, prompt="a cat")
    assert quality.overall is not None
    assert quality.overall.value == 0.5
    assert all((one == other).all() for one, other in zip(scorer.pictures, sent, strict=True))
    assert scorer.prompts[0] == "a cat"
    assert not any(scorer.prompts[1:])


async def test_any_source_of_arrays_is_taken():
    sent = pictures(2)
    views = [np.ascontiguousarray(picture[::-1])[::-1] for picture in sent]  # not contiguous in memory
    for source in (iter(sent), slowly(sent), (picture for picture in views)):
        async with scoring(scorer := Scorer()) as client:
            await client.score_video(source)
        assert all((one == other).all() for one, other in zip(scorer.pictures, sent, strict=True))


async def test_transparency_is_sent_along():
    (chunk,) = [chunk async for chunk in frames.stream(pictures(1, channels=4))]
    assert chunk.pixel_format == media_pb2.PIXEL_FORMAT_RGBA32


@pytest.mark.parametrize(
    "strange",
    [
        [[1, 2], [3]],
        "no array",
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
async def test_what_is_no_frame_is_named_and_the_call_ends(strange: object):
    async with scoring(scorer := Scorer()) as client:
        with pytest.raises(PromptError, match=r"frames\[1\]: must be an array"):
            await client.score_video(scorer.shown(*pictures(1), strange))
        async with asyncio.timeout(20):
            await scorer.left.wait()


async def test_a_source_that_fails_ends_the_call_with_its_own_error():
    async def failing() -> AsyncIterator[Any]:
        async for array in scorer.shown(*pictures(1)):
            yield array
        raise KeyError("camera")

    async with scoring(scorer := Scorer()) as client:
        with pytest.raises(KeyError, match="camera"):
            await client.score_video(failing())
        async with asyncio.timeout(20):
            await scorer.left.wait()


async def test_a_server_that_refuses_in_the_middle_is_heard_and_the_source_closed():
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless() -> Iterator[Any]:
        try:
            while True:
                yield from pictures(1)
        finally:
            loop.call_soon_threadsafe(closed.set)

    async with scoring(Scorer(refuses_after=2)) as client:
        # The second where gRPC lost what the server said: it does now and then.
        with pytest.raises((ResourceError, MeshUnavailableError), match=r"full|its reason was lost"):
            await client.score_video(endless())
        async with asyncio.timeout(20):
            await closed.wait()


def written(path: Path, sent: list[Any]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(10))
        stream.height, stream.width = sent[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for picture in sent:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


async def test_a_file_is_decoded_frame_by_frame(tmp_path: Path):
    sent = pictures(4, (32, 48))
    file = written(tmp_path / "lossless.mkv", sent)
    async with scoring(scorer := Scorer()) as client:
        await client.score_video(file)
        assert all((one == other).all() for one, other in zip(scorer.pictures, sent, strict=True))
        (tmp_path / "strange.mp4").write_bytes(b"no video" * 100)
        with pytest.raises(MediaError, match="does not decode as a video"):
            await client.score_video(str(tmp_path / "strange.mp4"))
        with pytest.raises(FileNotFoundError):
            await client.score_video(tmp_path / "missing.mp4")


async def test_without_a_decoder_a_file_is_refused_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MediaError, match=r"pip install 'visual-mesh-client\[video\]'"):
        _ = [chunk async for chunk in frames.stream(tmp_path / "a.mp4")]
