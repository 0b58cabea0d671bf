"""CheckImage and CheckFrames: the part of SafetyService that judges what was drawn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import grpc
import numpy as np

from scrollintel.visual.v1 import safety_pb2
from scrollintel.visual.v1.media_pb2 import FrameChunk
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.deadline import budget
from services.runtime.frames import Frames, Limits
from services.runtime.streams import Patience, arriving
from services.runtime.threads import in_thread
from services.runtime.turns import turn_with_threads
from services.safety.pictures.checker import Pixels, Shown
from services.safety.pictures.film import Film, filming, union
from services.safety.pictures.panel import Panel, Seen
from services.safety.pictures.sampling import Pace, Sampler
from services.safety.policyfile import PolicyFile
from services.safety.settings import Settings
from services.safety.unchecked import checking, late
from services.safety.verdict import to_verdict

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

FRAME_LIMITS = Limits(frames=3600, pixels=4096 * 2304)  # two and a half minutes at 24 a second
NOTHING = np.zeros((1, 1, 3), np.uint8)


class PictureRpcs:
    """Judges pictures and videos by all checkers of the panel. What one of them could not check is no pass."""

    _panel: Panel
    _policies: PolicyFile
    _blobs: BlobStore
    _pictures: Admission
    _videos: Admission
    _settings: Settings

    async def CheckImage(
        self, request: safety_pb2.CheckImageRequest, context: Context
    ) -> safety_pb2.CheckImageResponse:
        """Show a picture to the panel."""
        async with turn_with_threads(self._pictures):
            with checking("the picture"):
                async with asyncio.timeout(budget(self._settings.picture_seconds)):
                    like = self._shown(NOTHING)
                    seen = await self._seen(await self._blobs.get(request.image), like)
                    verdict = to_verdict(seen.checks, like.held.policy)
        return safety_pb2.CheckImageResponse(verdict=verdict, safety_score=1 - seen.risk)

    async def CheckFrames(
        self, request_iterator: AsyncIterator[safety_pb2.CheckFramesRequest], context: Context
    ) -> safety_pb2.CheckFramesResponse:
        """Show to the panel those frames that the sampler takes, and the last one."""
        settings = self._settings
        shown = self._shown(NOTHING)
        sampler = Sampler(Pace(settings.frames_every, settings.frames_seconds))
        patience = Patience(settings.idle_seconds, settings.trickle_seconds)
        async with turn_with_threads(self._videos), _in_time(settings.video_seconds):
            messages = arriving(request_iterator, "the video", patience)
            async with filming(self._panel, shown, sampler, settings.frames_at_once) as film:
                await _read(messages, film)
            seen = film.seen()
        return safety_pb2.CheckFramesResponse(
            verdict=to_verdict(seen.checks, shown.held.policy),
            safety_score=1 - seen.risk,
            frames=film.frames,
            frames_checked=film.checked,
        )

    async def _seen(self, data: bytes, like: Shown) -> Seen:
        """Show a picture to the panel, one with transparency as it is over white and as it is over black.

        White with the light of a photograph as its alpha is blank over white, and the photograph over black.
        """
        seen = []
        for ground in ("white", "black") if await in_thread(images.has_alpha, data) else ("white",):
            picture = await images.decode(data, ground)
            seen.append(await self._panel.look(replace(like, pixels=picture), "the picture"))
            del picture  # the next one takes as much
        return union(seen) if len(seen) > 1 else seen[0]

    def _shown(self, picture: Pixels) -> Shown:
        return Shown(picture, identity.current().tenant, self._policies.book)


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(budget(seconds)):
            yield
    except TimeoutError:
        raise late("the video") from None


async def _read(messages: AsyncIterator[safety_pb2.CheckFramesRequest], film: Film) -> None:
    """Put the frames of a stream together, one after the other, and hand them on."""
    frames = Frames(FRAME_LIMITS)
    async for message in messages:
        picture = await frames.add(message.frame)
        if picture is not None:
            await film.add(picture, message.frame.index, _shown_at(message.frame))
    frames.end()
    await film.end()


def _shown_at(chunk: FrameChunk) -> float | None:
    return chunk.pts.ToNanoseconds() / 1e9 if chunk.HasField("pts") else None
