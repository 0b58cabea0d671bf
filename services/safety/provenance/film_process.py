"""Marks and reads a video in a process of its own, at low priority: `python -m services.safety.provenance.film_process`.

It reads one line of JSON and the file, and writes one line of JSON and a file. FFmpeg has no say over the server then:
a video that it stumbles over ends this process alone, and a call that is over ends it at once.
"""

import asyncio
import base64
import json
import os
import resource
import sys
from dataclasses import asdict
from typing import Any

from services.safety.provenance import film
from services.safety.provenance.lattice import Placement
from services.safety.provenance.watermark import Found, Watermark

PRIORITY = 10  # below the servers', as `nice` counts
REFUSED = 3  # exit code: the rule that the file breaks is what was written


async def marked(data: bytes, key: bytes, payload: int, seconds: float) -> film.Film:
    """Return a video with the mark in each frame. Raises FilmError, TimeoutError, and OSError when the process fails."""
    told, made = await _asked({"do": "mark", "key": _text(key), "payload": payload}, data, seconds)
    return film.Film(made, told["width"], told["height"], told["frames"])


async def found(data: bytes, key: bytes, seconds: float) -> Found:
    """Look for the mark in frames of a video, all together. Raises FilmError, TimeoutError, and OSError when the process fails."""
    told, _ = await _asked({"do": "find", "key": _text(key)}, data, seconds)
    return Found(told["p_value"], Placement(**told["placement"]), told["way"], tuple(told["symbols"]))


async def _asked(request: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(seconds):
            head = json.dumps({**request, "seconds": seconds}).encode() + b"\n"
            answer, _ = await process.communicate(head + data)
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    line, _, made = answer.partition(b"\n")
    if process.returncode == REFUSED:
        raise film.FilmError(line.decode())
    if process.returncode:
        raise OSError(f"the process that reads videos ended with {process.returncode}")
    return json.loads(line), made


def main() -> int:
    """Do what the first line of the input asks with the rest of it."""
    os.nice(PRIORITY)
    request = json.loads(sys.stdin.buffer.readline())
    most = (int(request["seconds"]) + 1) * (os.cpu_count() or 1)  # should nobody be left to end it
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    try:
        told, made = _done(request, sys.stdin.buffer.read())
    except film.FilmError as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + made)
    return 0


def _done(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    mark = Watermark(base64.b64decode(request["key"]))
    if request["do"] == "find":
        return asdict(mark.find(*film.samples(data))), b""
    made = film.changed(data, lambda light: mark.mark(light, request["payload"]))
    return {"width": made.width, "height": made.height, "frames": made.frames}, made.data


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()


if __name__ == "__main__":
    sys.exit(main())
