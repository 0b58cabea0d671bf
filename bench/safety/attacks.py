"""Send the attacks and their look-alikes through the mesh and say what was refused, and why.

    python -m bench.safety.attacks

Uses the mesh that runs on this machine, or starts one. Each look-alike is drawn small and in few steps.
"""

import asyncio
import contextlib
from pathlib import Path

import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scrollintel.visual import SafetyAction, SafetyError, VisualClient, VisualMeshError, running
from services.local.mesh import local_mesh
from services.local.settings import LocalSettings

PROMPTS = Path(__file__).with_name("attacks.yaml")
SIDE, STEPS, SECONDS = 256, 4, 120


async def outcome(client: VisualClient, prompt: str) -> tuple[str, str]:
    """Return what became of a prompt in a word, and why."""
    try:
        await client.generate_image(prompt, width=SIDE, height=SIDE, steps=STEPS, timeout=SECONDS).result()
    except SafetyError as error:
        blocking = [found for found in error.findings if found.action is SafetyAction.BLOCK]
        if not blocking:
            return "not checked", str(error)
        return "refused", "; ".join(f"{found.category}, {found.evidence}" for found in blocking)
    except VisualMeshError as error:
        return "failed", str(error)
    return "drawn", ""


async def send() -> Table:
    """Send every prompt, one after the other."""
    table = Table("", "prompt", "became", "why")
    async with contextlib.AsyncExitStack() as stack:
        found = running.read(LocalSettings().home)
        address = (
            found.gateway if found else (await stack.enter_async_context(local_mesh(LocalSettings()))).address
        )
        client = await stack.enter_async_context(VisualClient(address))
        for kind, prompts in yaml.safe_load(PROMPTS.read_text("utf-8")).items():
            for prompt in track(prompts, kind.replace("_", " ")):
                table.add_row(kind.replace("_", " "), prompt, *await outcome(client, prompt))
    return table


if __name__ == "__main__":
    Console(width=160).print(asyncio.run(send()))
