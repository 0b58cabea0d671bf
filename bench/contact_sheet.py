"""Draw every prompt of a list through the mesh and lay the pictures out on one sheet, each above its prompt.

    python -m bench.contact_sheet bench/prompts.txt sheet.png [--seed 7] [--columns 6]

Uses the mesh that runs on this machine, or starts one. What could not be drawn is a grey tile with the reason.
"""

import argparse
import asyncio
import contextlib
import io
from pathlib import Path

from PIL import Image
from rich.progress import track

from scrollintel.visual import VisualClient, VisualMeshError, running
from services.local.compare.sheet import Tile, grid
from services.local.mesh import local_mesh
from services.local.settings import LocalSettings

TILE, SIZE = 192, 512
SECONDS = 120


async def tile(client: VisualClient, prompt: str, seed: int) -> Tile:
    """Draw one prompt and return its tile."""
    try:
        result = await client.generate_image(
            prompt, seed=seed, width=SIZE, height=SIZE, timeout=SECONDS
        ).result()
        return Tile(Image.open(io.BytesIO(await result.assets[0].read())), [prompt])
    except VisualMeshError as error:
        return Tile(None, [prompt], str(error))


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
    return grid(tiles, columns, TILE)


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
