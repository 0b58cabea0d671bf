"""Videos: MP4 files as pictures of their luminance, changed one by one and written anew, or a few of them to look at.

Frames stay in the form that they are stored in, luminance and colour apart: no colour is converted there and back. FFmpeg
reads what strangers made, so all of this runs in a process of its own (services/safety/provenance/film_process.py).
"""

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeAlias, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

MEDIA_TYPE = "video/mp4"

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 4096 * 2304  # a frame
MAX_FRAMES = 1800  # that are written anew: a minute at 30 a second
LOOKED_AT = 300  # frames from the beginning that those to look at are taken from
SAMPLES = 8

# The quality that is written, measured in docs/19-provenance.md; presets faster than this one lose the mark sooner.
ENCODER = "libx264"
OPTIONS = {"crf": "16", "preset": "medium"}

Light: TypeAlias = NDArray[np.uint8]
P = ParamSpec("P")
T = TypeVar("T")


class FilmError(Exception):
    """A file that is refused; the text is its rule, for the caller."""


@dataclass(frozen=True)
class Film:
    """A video that was written anew."""

    data: bytes
    width: int
    height: int
    frames: int


def is_film(data: bytes) -> bool:
    """Return whether bytes say that they are an MP4 file (ISO/IEC 14496-12, section 4.3)."""
    return data[4:8] == b"ftyp"


def _refusing(work: Callable[P, T]) -> Callable[P, T]:
    """Let what FFmpeg stumbles over be told as the file's own fault."""

    @functools.wraps(work)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except av.FFmpegError:
            raise FilmError("damaged, or no MP4 video") from None

    return refusing


@_refusing
def changed(data: bytes, change: Callable[[Light], Light]) -> Film:
    """Return a video with each frame's luminance, uint8 [H,W,1], changed; sound is copied. Raises FilmError."""
    out, count = io.BytesIO(), 0
    with _opened(data) as source, av.open(out, "w", format="mp4") as sink:
        video = source.streams.video[0]
        coder: Any = sink.add_stream(ENCODER, rate=video.average_rate or 25, options=OPTIONS)
        coder.width, coder.height, coder.pix_fmt = video.width, video.height, "yuv420p"
        coder.time_base = video.time_base
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(coder.codec_context, name, getattr(video.codec_context, name))
        sounds = {sound.index: sink.add_stream_from_template(sound) for sound in source.streams.audio}
        for packet in source.demux([video, *source.streams.audio]):
            if packet.stream.index in sounds:
                if packet.dts is not None:
                    packet.stream = sounds[packet.stream.index]
                    sink.mux(packet)
                continue
            for frame in packet.decode():
                count += 1
                if count > MAX_FRAMES:
                    raise FilmError(f"more than {MAX_FRAMES} frames")
                sink.mux(coder.encode(_changed(frame, change)))
        sink.mux(coder.encode())
    if not count:
        raise FilmError("no frames")
    return Film(out.getvalue(), video.width, video.height, count)


@_refusing
def samples(data: bytes) -> list[Light]:
    """Return luminances, uint8 [H,W,1], of up to SAMPLES frames spread over the beginning. Raises FilmError."""
    with _opened(data) as source:
        video = source.streams.video[0]
        step = max(1, min(video.frames or LOOKED_AT, LOOKED_AT) // SAMPLES)
        found: list[Light] = []
        for number, frame in enumerate(source.decode(video)):
            if number % step == 0:
                found.append(_planes(frame)[: frame.height, :, None].copy())
            if len(found) == SAMPLES:
                break
    if not found:
        raise FilmError("no frames")
    return found


def _opened(data: bytes) -> Any:
    """Open a file whose head keeps the limits."""
    if len(data) > MAX_BYTES:
        raise FilmError(f"larger than {MAX_BYTES // 2**20} MiB")
    source: Any = av.open(io.BytesIO(data), format="mp4")
    if not source.streams.video:
        raise FilmError("no video in it")
    video = source.streams.video[0]
    if video.width * video.height > MAX_PIXELS:
        raise FilmError(f"more than {MAX_PIXELS // 10**6} megapixels a frame")
    if video.width % 2 or video.height % 2:
        raise FilmError("an odd number of pixels in a row or column")
    video.thread_type = "AUTO"
    return source


def _planes(frame: Any) -> Light:
    planes: Light = frame.to_ndarray(format="yuv420p")  # luminance above the two colours
    return planes


def _changed(frame: Any, change: Callable[[Light], Light]) -> Any:
    planes = _planes(frame)
    planes[: frame.height] = change(planes[: frame.height, :, None])[..., 0]
    made: Any = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    made.pts, made.time_base = frame.pts, frame.time_base
    made.colorspace, made.color_range = frame.colorspace, frame.color_range
    return made
