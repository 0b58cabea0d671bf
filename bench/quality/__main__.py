"""Scores against growing faults, and seconds: `python -m bench.quality`.

Prints the tables of docs/20-quality.md and draws its figure. The means are over six of scikit-image's photographs; the
drawing is docs/images/demo.png. Seconds are those of the whole rpc, from a stored PNG to the scores, one caller, through a
real server with two threads; without `--triton HOST:PORT` no model is asked. Frames are raw RGB over one stream.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.quality.spoiling import SPOILERS, Pixels, Spoiler, drawing, photographs
from scrollintel.visual.v1 import media_pb2
from scrollintel.visual.v1.media_pb2 import FrameChunk
from scrollintel.visual.v1.quality_pb2 import CompareImagesRequest, ScoreImageRequest, ScoreVideoRequest
from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceStub
from services.quality.comparison import compare
from services.quality.measure import Learnt, measure
from services.quality.service import spec
from services.quality.settings import Settings
from services.runtime import images
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.server import serve

mpl.use("Agg")
from matplotlib import pyplot as plt

FIGURE = Path("docs/images/quality-curves.png")
SCORES = ("technical", "naturalness", "sharpness", "noise", "blockiness", "banding", "exposure")
DISTANCES = ("psnr_db", "ssim", "ms_ssim", "gmsd", "color_difference")
NOWHERE = "127.0.0.1:1"
CALIBRATION = Path("model_repository/image_text_matcher/1/calibration.json")
ROUNDS = 40
VIDEO_FRAMES = 96

Curves = Mapping[str, Sequence[float | None]]


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known, or None when nothing is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def curves(spoiler: Spoiler, pictures: Sequence[Pixels], learnt: Learnt) -> Curves:
    """Return each score's mean over the pictures at each step."""
    found = [[measure(spoiler.apply(picture, by), learnt) for picture in pictures] for by in spoiler.steps]
    return {
        name: [mean([one[name].value if name in one else None for one in step]) for step in found]
        for name in SCORES
    }


def distances(spoiler: Spoiler, pictures: Sequence[Pixels]) -> Curves:
    """Return each distance's mean over the pictures at each step but the first."""
    found = [
        [compare(picture, spoiler.apply(picture, by)) for picture in pictures] for by in spoiler.steps[1:]
    ]
    return {name: [mean([getattr(one, name) for one in step]) for step in found] for name in DISTANCES}


def table(title: str, steps: Sequence[float], rows: Curves, digits: int) -> Table:
    """Return curves as a table."""
    made = Table("", *(f"{step:g}" for step in steps), title=title)
    for name, values in rows.items():
        made.add_row(name, *("" if value is None else f"{value:.{digits}f}" for value in values))
    return made


def draw(whole: Mapping[str, Curves], path: Path) -> None:
    """Draw one panel for each fault."""
    figure, panels = plt.subplots(2, 3, figsize=(11, 6.2), layout="constrained", sharey=True)
    for (fault, rows), panel in zip(whole.items(), panels.flat, strict=True):
        spoiler = SPOILERS[fault]
        for name, values in rows.items():
            panel.plot(
                range(len(values)),
                [np.nan if value is None else value for value in values],
                marker="o",
                markersize=3,
                label=name,
                linewidth=2.5 if name == "technical" else 1.2,
            )
        panel.set(title=fault, xlabel=spoiler.unit, ylim=(0, 1.03))
        panel.set_xticks(range(len(spoiler.steps)), [f"{step:g}" for step in spoiler.steps])
        panel.grid(alpha=0.3)
    panels.flat[0].legend(fontsize=7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


async def seconds(triton: str, pictures: Mapping[str, Pixels]) -> Table:
    """Return milliseconds of the rpcs for pictures of 1024 × 1024."""
    made = Table("rpc", "picture", "P50 ms", "P90 ms", "scores", title=f"1024 × 1024, {ROUNDS} calls")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings(
            home=home, triton_address=triton or NOWHERE, calibration=CALIBRATION if triton else None
        )
        async with serve(spec(settings)) as server, connect(server.address) as channel:
            stub = QualityServiceStub(channel)
            blobs = BlobStore.open("", home)
            for name, picture in pictures.items():
                large = np.asarray(cv2.resize(picture, (1024, 1024), interpolation=cv2.INTER_CUBIC))
                media = await blobs.put(await images.encode_png(large), media_type="image/png")
                score = ScoreImageRequest(image=media, prompt="a picture" if triton else "", remember=True)
                answer, spent = await _times(lambda request=score: stub.ScoreImage(request, timeout=60))
                count = str(len(answer.metrics.ListFields()))
                made.add_row("ScoreImage", name, f"{spent[4]:.0f}", f"{spent[8]:.0f}", count)
                two = CompareImagesRequest(reference=media, candidate=media)
                _, spent = await _times(lambda request=two: stub.CompareImages(request, timeout=60))
                made.add_row("CompareImages", name, f"{spent[4]:.0f}", f"{spent[8]:.0f}", "")
    return made


async def frame_rates(pictures: Mapping[str, Pixels]) -> Table:
    """Return frames a second of ScoreVideo, raw RGB over one stream."""
    made = Table("size", "frames", "frames a second", title="ScoreVideo")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), triton_address=NOWHERE)
        async with serve(spec(settings)) as server, connect(server.address) as channel:
            stub = QualityServiceStub(channel)
            for width, height in ((448, 256), (1280, 720), (1920, 1080)):
                frames = _pan(pictures["astronaut"], width, height)
                started = time.perf_counter()
                await stub.ScoreVideo(frames, timeout=300)
                rate = VIDEO_FRAMES / (time.perf_counter() - started)
                made.add_row(f"{width} × {height}", str(VIDEO_FRAMES), f"{rate:.0f}")
    return made


def _pan(picture: Pixels, width: int, height: int) -> Iterator[ScoreVideoRequest]:
    """Yield a pan over a picture, one pixel of 256 a frame."""
    large = cv2.resize(picture, (2 * width, 2 * width), interpolation=cv2.INTER_CUBIC)
    for index in range(VIDEO_FRAMES):
        left = index * width // 256
        window = np.ascontiguousarray(large[:height, left : left + width])
        frame = FrameChunk(
            index=index,
            width=width,
            height=height,
            pixel_format=media_pb2.PIXEL_FORMAT_RGB24,
            codec=media_pb2.FRAME_CODEC_RAW,
            data=window.tobytes(),
            last=True,
        )
        yield ScoreVideoRequest(frame=frame)


async def _times(call):  # type: ignore[no-untyped-def]
    """Return the last answer and the deciles of the milliseconds."""
    spent = []
    answer = None
    for _ in range(ROUNDS):
        started = time.perf_counter()
        answer = await call()
        spent.append((time.perf_counter() - started) * 1e3)
    return answer, statistics.quantiles(spent, n=10)


def main() -> None:
    """Measure, print and draw."""
    options = argparse.ArgumentParser(prog="bench.quality")
    options.add_argument("--triton", default="", help="a Triton that serves the matcher")
    options.add_argument("--seconds-only", action="store_true")
    chosen = options.parse_args()
    console = Console(width=110)
    pictures = photographs()
    drawn = drawing()
    if not chosen.seconds_only:
        learnt = Learnt.load()
        whole = {fault: curves(spoiler, [*pictures.values()], learnt) for fault, spoiler in SPOILERS.items()}
        for fault, spoiler in SPOILERS.items():
            title = f"{fault}, {spoiler.unit}"
            console.print(table(f"photographs: {title}", spoiler.steps, whole[fault], 2))
            console.print(table(f"drawing: {title}", spoiler.steps, curves(spoiler, [drawn], learnt), 2))
        for fault in ("blur", "noise", "JPEG", "banding"):
            spoiler = SPOILERS[fault]
            rows = distances(spoiler, [*pictures.values()])
            console.print(table(f"distances: {fault}, {spoiler.unit}", spoiler.steps[1:], rows, 3))
        draw(whole, FIGURE)
    console.print(asyncio.run(frame_rates(pictures)))
    console.print(asyncio.run(seconds(chosen.triton, {"astronaut": pictures["astronaut"], "drawing": drawn})))


if __name__ == "__main__":
    main()
