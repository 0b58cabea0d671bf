"""Where pictures go, and what is written into them."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

from scrollintel.visual import Asset
from scrollintel.visual.cli import png
from scrollintel.visual.version import __version__

SLUG_CHARACTERS = 48
DESCRIBED = (
    "prompt",
    "enhanced_prompt",
    "negative_prompt",
    "style",
    "model",
    "seed",
    "steps",
    "guidance_scale",
    "size",
    "operations",
)
"""What of an asset's metadata goes into its file where the mesh has not written and signed it. Nothing that differs from
run to run: no time, no generation id."""


def slug(prompt: str) -> str:
    """Return a prompt as a file name's stem: lower-case words joined by hyphens."""
    words = re.findall(r"\w+", prompt.lower())
    kept = ""
    for word in words:
        if len(kept) + len(word) + 1 > SLUG_CHARACTERS and kept:
            break
        kept = f"{kept}-{word}" if kept else word[:SLUG_CHARACTERS]
    return kept or "picture"


def described(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the text entries of a picture's file."""
    return {key: metadata[key] for key in DESCRIBED if metadata.get(key)} | {
        "software": f"visual-mesh {__version__}"
    }


def target(output: Path, prompt: str, seed: int | None, index: int, count: int) -> tuple[Path, bool]:
    """Return where a picture goes and whether a file there may be replaced: only one that was named in full may."""
    if output.suffix.lower() == ".png":
        return (output if count == 1 else output.with_stem(f"{output.stem}-{index + 1}")), True
    return output / f"{slug(prompt)}-{seed if seed is not None else index}.png", False


async def save(asset: Asset, path: Path, *, replace: bool) -> Path:
    """Write an asset's picture with its description and return its path; a signed file is written as it came.

    A file that is not to be replaced is kept, and the picture takes the next free number, unless both are equal but for
    their manifests.
    """
    data = await asset.read()
    if data.startswith(png.SIGNATURE) and not png.is_sealed(data):
        data = png.with_text(data, described(asset.metadata))
    return await asyncio.to_thread(_write, path, data, replace)


def _write(path: Path, data: bytes, replace: bool) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if replace:
        path.write_bytes(data)
        return path
    number = 1
    while True:
        candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            with candidate.open("xb") as file:
                file.write(data)
        except FileExistsError:
            there = candidate.read_bytes()
            if there == data or png.same_but_manifest(there, data):
                return candidate
            number += 1
        else:
            return candidate
