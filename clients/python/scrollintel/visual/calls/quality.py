"""Calls that measure pictures and videos."""

import asyncio
from contextlib import aclosing
from typing import Any

import grpc

from scrollintel.visual import frames, requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.connection import READ_SECONDS, Connection
from scrollintel.visual.difference import Difference
from scrollintel.visual.exceptions import MeshUnavailableError
from scrollintel.visual.quality import Quality
from scrollintel.visual.v1 import quality_pb2

# What gRPC says instead of the server's status where a write was on its way when the server ended the call:
# https://github.com/grpc/grpc/issues/36066
LOST = "Internal error from Core"


class QualityCalls(Connection):
    """Scores and comparisons."""

    async def compare_images(self, reference: Media | Asset, candidate: Media | Asset) -> Difference:
        """Return how far a stored picture is from another one of its size.

        Raises:
            PromptError: the sizes differ, or are under 11 pixels a side or over 16.7 million pixels.
            NotFoundError: the bytes of one are no longer stored.
        """
        request = quality_pb2.CompareImagesRequest(
            reference=requests.media_of(reference).write(), candidate=requests.media_of(candidate).write()
        )
        with self._errors():
            answer = await self._quality.CompareImages(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Difference.read(answer)

    async def score_video(
        self, video: frames.Video, *, prompt: str | None = None, timeout: float | None = None
    ) -> Quality:
        """Return a video's scores; its frames are sent one after the other as they are measured, and not kept.

        Args:
            video: a file's path, for which the extra `video` is needed, or frames: arrays of unsigned bytes, [height,
                width, 3] RGB or [height, width, 4] RGBA, all of one size, as an iterable or an asynchronous one.
            prompt: what it was to show; without it that is not measured.
            timeout: seconds for all of it, instead of the client's.

        Raises:
            PromptError: a frame is none, or they are too many, too large, or not of one size.
            MediaError: the file does not decode.
            ResourceError: the mesh is scoring as many as it can.
            MeshUnavailableError: it ended the call early, and gRPC lost why; that it is full is the likeliest.
            OSError: the file cannot be read.
        """
        first = quality_pb2.ScoreVideoRequest()
        requests.put(first, "prompt", prompt, path="")
        call = self._quality.ScoreVideo(
            timeout=self._timeout if timeout is None else timeout, metadata=self._metadata
        )
        try:
            async with aclosing(frames.stream(video)) as chunks:
                async for chunk in chunks:
                    message = quality_pb2.ScoreVideoRequest(frame=chunk, prompt=first.prompt)
                    if not await _written(call, message):
                        break
                    first.Clear()
                else:
                    await call.done_writing()
        except BaseException:
            call.cancel()
            raise
        with self._errors():
            try:
                answer = await call
            except grpc.aio.AioRpcError as error:
                if error.details() == LOST:
                    raise MeshUnavailableError(
                        "the mesh ended the call before the last frame, and its reason was lost; try again shortly",
                        code="UNAVAILABLE",
                    ) from error
                raise
        return Quality.read(answer.metrics)


async def _written(call: Any, message: quality_pb2.ScoreVideoRequest) -> bool:
    """Send a message, unless the server has ended the call already: its answer says why."""
    try:
        await call.write(message)
    except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
        return False
    return True
