"""Measure the watermark in videos: what it survives, and what it costs.

    python -m bench.watermark_video CLIP... [--frames 120]

Give MP4 files; docs/19-provenance.md names those that its tables are of. Each is cut to its first frames, sealed as the
safety server seals it, attacked, and looked at in `SAMPLES` frames together. Prints tables in Markdown.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from services.safety.provenance import film
from services.safety.provenance.watermark import Watermark

Frames = list[NDArray[np.uint8]]  # luminances [H,W]
Attack = Callable[[Frames], bytes]

MARK = Watermark(b"the key of bench/watermark_video.py")
PAYLOAD = 0xC0FFEE42


def decoded(data: bytes, most: int = 10**9) -> Frames:
    """Return the luminances of a video."""
    frames: Frames = []
    source: Any
    with av.open(io.BytesIO(data)) as source:
        for frame in source.decode(video=0):
            frames.append(frame.to_ndarray(format="yuv420p")[: frame.height])
            if len(frames) == most:
                break
    return frames


def encoded(frames: Sequence[NDArray[np.uint8]], crf: int, preset: str = "medium") -> bytes:
    """Return luminances as an H.264 video without colour."""
    out = io.BytesIO()
    height, width = (side // 2 * 2 for side in frames[0].shape)
    with av.open(out, "w", format="mp4") as sink:
        coder: Any = sink.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": preset})
        coder.width, coder.height, coder.pix_fmt = width, height, "yuv420p"
        grey = np.full((height // 2, width), 128, np.uint8)
        for frame in frames:
            planes = np.vstack([frame[:height, :width], grey])
            sink.mux(coder.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        sink.mux(coder.encode())
    return out.getvalue()


def resized(frames: Frames, factor: float) -> Frames:
    """Return frames resized."""
    return [cv2.resize(each, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) for each in frames]  # type: ignore[misc]


def cropped(frames: Frames) -> Frames:
    """Return frames without a tenth of their area."""
    height, width = (round(side * 0.9**0.5) for side in frames[0].shape)
    return [frame[-height:, -width:] for frame in frames]


ATTACKS: dict[str, Attack | None] = {
    "none": None,
    "CRF 23": lambda frames: encoded(frames, 23),
    "CRF 28": lambda frames: encoded(frames, 28),
    "CRF 33": lambda frames: encoded(frames, 33),
    "half the size, CRF 23": lambda frames: encoded(resized(frames, 0.5), 23),
    "half the size, CRF 28": lambda frames: encoded(resized(frames, 0.5), 28),
    "85 % of the size, CRF 23": lambda frames: encoded(resized(frames, 0.85), 23),
    "every other frame dropped, CRF 28": lambda frames: encoded(frames[::2], 28),
    "the first third dropped, CRF 28": lambda frames: encoded(frames[len(frames) // 3 :], 28),
    "a tenth of the area cut off, CRF 23": lambda frames: encoded(cropped(frames), 23),
    "mirrored, CRF 23": lambda frames: encoded([np.ascontiguousarray(each[:, ::-1]) for each in frames], 23),
}


def psnr(one: Frames, other: Frames) -> float:
    """Return how near two videos are, in dB."""
    error = np.mean([np.mean((a.astype(float) - b) ** 2) for a, b in zip(one, other, strict=True)])
    return float(10 * np.log10(255**2 / error))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=120)
    arguments = parser.parse_args()
    table: dict[str, list[str]] = {attack: [] for attack in ATTACKS}
    costs, alarms = [], []
    for clip in arguments.clips:
        given = decoded(clip.read_bytes(), arguments.frames)
        source = encoded(given, 4, "ultrafast")  # so that what is measured begins with these frames
        before = decoded(source)
        began = time.perf_counter()
        sealed = film.changed(source, lambda light: MARK.mark(light, PAYLOAD)).data
        seconds = time.perf_counter() - began
        plain = film.changed(source, lambda light: light).data
        after = decoded(sealed)
        began = time.perf_counter()
        alarms.append(MARK.find(*film.samples(plain)).p_value)
        vain = time.perf_counter() - began
        for attack, attacked in ATTACKS.items():
            found = MARK.find(*film.samples(attacked(after) if attacked else sealed))
            read = "read" if found.payload == PAYLOAD else "found" if found.marked else "no"
            table[attack].append(f"{read} ({found.p_value:.0e})")
        height, width = before[0].shape
        costs.append(
            f"| {clip.stem}, {width} × {height} | {psnr(before, decoded(plain)):.1f} dB | {psnr(before, after):.1f} dB | "
            f"{len(plain) / 1000:.0f} | {len(sealed) / 1000:.0f} | {1000 * seconds / len(before):.0f} ms | {vain:.1f} s |"
        )
    print("| attack | " + " | ".join(clip.stem for clip in arguments.clips) + " |")
    print("|---" * (1 + len(arguments.clips)) + "|")
    for attack, cells in table.items():
        print(f"| {attack} | " + " | ".join(cells) + " |")
    print(
        "\n| clip | PSNR, written anew | PSNR, marked too | KB | KB, marked | sealing, a frame | looking in vain |"
    )
    print("|---" * 7 + "|")
    print("\n".join(costs))
    print("\nwithout the mark: p-values " + ", ".join(f"{value:.2f}" for value in alarms))


if __name__ == "__main__":
    main()
