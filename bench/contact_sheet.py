"""Draw every prompt of a list through the mesh and lay the pictures out on one sheet, each above its prompt.

    python -m bench.contact_sheet bench/prompts.txt sheet.png [--seed 7] [--columns 6]

Uses the mesh that runs on this machine, or starts one. What could not be drawn is a grey tile with the reason.
"""

import argparse
import asyncio
import contextlib
import io
from pathlib import Path

from PIL import Image, ImageDraw
from rich.progress import track

from scrollintel.visual import VisualClient, VisualMeshError, running
from services.local.mesh import local_mesh
from services.local.settings import LocalSettings

TILE, LABEL, SIZE = 192, 22, 512
SECONDS = 120


async def tile(client: VisualClient, prompt: str, seed: int) -> Image.Image:
    """Draw one prompt and return its tile, [TILE + LABEL, TILE] pixels."""
    sheet = Image.new("RGB", (TILE, TILE + LABEL), "white")
    try:
        result = await client.generate_image(
            prompt, seed=seed, width=SIZE, height=SIZE, timeout=SECONDS
        ).result()
        picture = Image.open(io.BytesIO(await result.assets[0].read()))
        sheet.paste(picture.resize((TILE, TILE), Image.Resampling.LANCZOS))
    except VisualMeshError as error:
        sheet.paste("lightgrey", (0, 0, TILE, TILE))
        ImageDraw.Draw(sheet).text((6, 6), str(error)[:120], fill="black")
    ImageDraw.Draw(sheet).text((4, TILE + 4), prompt[:32], fill="black")
    return sheet


async def draw(prompts: list[str], seed: int, columns: int) -> Image.Image:
    """Draw every prompt, one after the other, and return the sheet."""
    async with contextlib.AsyncExitStack() as stack:
        home = LocalSettings().home
        found = running.read(home)
        address = (
            found.gateway if found else (await stack.enter_async_context(local_mesh(LocalSettings()))).address
        )
        client = await stack.enter_async_context(VisualClient(address))
        tiles = [await tile(client, prompt, seed) for prompt in track(prompts, "drawing")]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * TILE, rows * (TILE + LABEL)), "white")
    for index, one in enumerate(tiles):
        sheet.paste(one, (index % columns * TILE, index // columns * (TILE + LABEL)))
    return sheet


def main() -> None:
    """Read the arguments and write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prompts", type=Path, help="a text file, one prompt a line")
    parser.add_argument("output", type=Path, help="the sheet, a PNG file")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--columns", type=int, default=6)
    arguments = parser.parse_args()
    prompts = [line.strip() for line in arguments.prompts.read_text().splitlines() if line.strip()]
    asyncio.run(draw(prompts, arguments.seed, arguments.columns)).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
