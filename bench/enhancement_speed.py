"""How long EnhancePrompt takes: the prompts of bench.enhancement, one after another, over gRPC, with the real text model.

    python -m bench.enhancement_speed [--passes 4]

Starts a Triton and a prompt server of its own, on one machine; the first pass warms up and is not counted.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.enhancement import NOBODY, PROMPTS, SECONDS, read
from scrollintel.visual.v1 import prompt_pb2
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceStub
from services.local.bench.figures import quantile
from services.local.triton import Triton, TritonSettings
from services.models.build import build_repository
from services.models.presence import served_repository
from services.prompt.meanings import MODEL
from services.prompt.service import spec
from services.prompt.settings import Settings
from services.runtime.channels import connect
from services.runtime.server import serve
from services.runtime.settings import default_home


async def measure(home: Path, passes: int) -> dict[str, list[float]]:
    """Return the milliseconds of every call, by group of prompts and for all together."""
    await asyncio.to_thread(build_repository, home)
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        async with Triton(TritonSettings(Path(scratch), served_repository(home), (MODEL,))) as server:
            await server.wait_ready(SECONDS)
            settings = Settings.model_validate(
                {"home": Path(scratch), "triton_address": server.grpc_address, "assets_address": NOBODY}
            )
            async with serve(spec(settings)) as room, connect(room.address) as channel:
                stub = PromptServiceStub(channel)
                for number in range(passes):
                    for group, prompt in read(PROMPTS):
                        began = time.perf_counter()
                        await stub.EnhancePrompt(
                            prompt_pb2.EnhancePromptRequest(prompt=prompt), timeout=SECONDS
                        )
                        took = 1000 * (time.perf_counter() - began)
                        for name in (group, "all") if number else ():
                            spent.setdefault(name, []).append(took)
    return spent


def main() -> None:
    """Read the arguments, measure, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=default_home(), help="where models are built")
    parser.add_argument("--passes", type=int, default=4)
    arguments = parser.parse_args()
    table = Table("prompts", "calls", "P50 ms", "P95 ms", "P99 ms")
    found = asyncio.run(measure(arguments.home, arguments.passes))
    for group, spent in sorted(found.items(), key=lambda pair: pair[0] == "all"):
        table.add_row(group, str(len(spent)), *(f"{quantile(spent, q):.1f}" for q in (0.5, 0.95, 0.99)))
    Console().print(table)


if __name__ == "__main__":
    main()
