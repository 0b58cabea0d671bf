"""What another seed or more steps change, and whether a picture can be judged before it is enlarged.

    nice -n 19 python -m bench.seeds --results seeds.jsonl [--prompts 27]

Uses the servers of a mesh of its own. Every fourth prompt of bench/prompts/enhancement.txt is enhanced as the orchestrator
has it done, drawn from four seeds and once more in twice the steps, and every picture scored as the model drew it and as
it is delivered, 512 x 512. What is done is in the results, one line a prompt, and is not done again. Half a minute a
prompt on two cores.
"""

import argparse
import asyncio
import json
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.enhancement import PROMPTS, read
from scrollintel.visual.v1 import spec_pb2
from scrollintel.visual.v1.enhance_pb2 import EnhanceImageRequest
from scrollintel.visual.v1.enhance_pb2_grpc import EnhanceServiceStub
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.prompt_pb2 import EnhancePromptRequest
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceStub
from scrollintel.visual.v1.quality_pb2 import ScoreImageRequest
from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceStub
from scrollintel.visual.v1.router_pb2 import ExecuteRequest
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from scrollintel.visual.v1.spec_pb2 import (
    EnhancementOperation,
    EnhancementSpec,
    ImageSpec,
    PixelSize,
    Upscale,
)
from services.local.mesh import local_mesh
from services.local.settings import ANYWHERE, LocalSettings
from services.runtime.channels import connect

if TYPE_CHECKING:  # names of the stubs' types alone
    from scrollintel.visual.v1.enhance_pb2_grpc import EnhanceServiceAsyncStub
    from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceAsyncStub
    from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceAsyncStub
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub

SIZE, STEPS, SEEDS, SECONDS = 512, 24, 4, 120.0
SCORES = {"overall": 0.85, "prompt_adherence": 0.8, "technical": 0.9}  # and a goal for each


@dataclass(frozen=True)
class Picture:
    """A picture's scores as the model drew it and as it is delivered."""

    steps: int
    seed: int
    drawn: Mapping[str, float]
    delivered: Mapping[str, float]


@dataclass(frozen=True)
class Servers:
    """The servers that draw, enlarge and score."""

    prompt: "PromptServiceAsyncStub"
    router: "RouterServiceAsyncStub"
    enhance: "EnhanceServiceAsyncStub"
    quality: "QualityServiceAsyncStub"

    async def pictures(self, typed: str, steps: int, seeds: int, seed: int) -> list[Picture]:
        """Draw a prompt from `seeds` seeds, from `seed` on, and score what comes."""
        asked = EnhancePromptRequest(prompt=typed, level=spec_pb2.ENHANCEMENT_LEVEL_STANDARD)
        worded = await self.prompt.EnhancePrompt(asked, timeout=SECONDS)
        spec = ImageSpec(
            prompt=worded.prompt,
            negative_prompt=worded.negative_prompt,
            style=worded.style,
            width=SIZE,
            height=SIZE,
            num_images=seeds,
            quality=spec_pb2.QUALITY_TIER_STANDARD,
            seed=seed,
            steps=steps,
            model_preference="text_to_image_house",
        )
        request = ExecuteRequest(request_id=f"seeds-{seed}-{steps}", image=spec, wordings=worded.wordings)
        outputs = [
            event.output
            async for event in self.router.Execute(request, timeout=SECONDS)
            if event.WhichOneof("event") == "output"
        ]
        found = []
        for output in outputs:
            drawn = await self.scores(output.media, typed)
            delivered = await self.scores(await self.enlarged(output.media), typed)
            found.append(Picture(steps, output.seed, drawn, delivered))
        return found

    async def enlarged(self, media: MediaRef) -> MediaRef:
        """Bring a picture to the size that is delivered."""
        upscale = Upscale(size=PixelSize(width=SIZE, height=SIZE))
        spec = EnhancementSpec(source=media, operations=[EnhancementOperation(upscale=upscale)])
        async for event in self.enhance.EnhanceImage(EnhanceImageRequest(spec=spec), timeout=SECONDS):
            if event.WhichOneof("event") == "image":
                return event.image
        raise RuntimeError("the enhance server sent no picture")

    async def scores(self, media: MediaRef, typed: str) -> dict[str, float]:
        """Return the scores of SCORES that a picture has."""
        request = ScoreImageRequest(image=media, prompt=typed)
        answer = await self.quality.ScoreImage(request, timeout=SECONDS)
        found = {field.name: score.value for field, score in answer.metrics.ListFields()}
        return {name: found[name] for name in SCORES if name in found}


@asynccontextmanager
async def serving() -> AsyncIterator[Servers]:
    """Start a mesh and connect to its servers."""
    async with AsyncExitStack() as stack:
        settings = LocalSettings(listen=ANYWHERE, advertise=False)
        mesh = await stack.enter_async_context(local_mesh(settings))
        prompt, router, enhance, quality = [
            await stack.enter_async_context(connect(mesh.servers[name]))
            for name in ("prompt", "router", "enhance", "quality")
        ]
        yield Servers(
            PromptServiceStub(prompt),
            RouterServiceStub(router),
            EnhanceServiceStub(enhance),
            QualityServiceStub(quality),
        )


async def measure(results: Path, count: int) -> None:
    """Draw and score the prompts that are not in the results yet."""
    prompts = [prompt for _, prompt in read(PROMPTS)[::4]][:count]
    done = load(results)
    todo = [(100 + 16 * number, prompt) for number, prompt in enumerate(prompts) if prompt not in done]
    if not todo:
        return
    async with serving() as servers:
        for seed, prompt in track(todo, "drawing"):
            pictures = await servers.pictures(prompt, STEPS, SEEDS, seed)
            pictures += await servers.pictures(prompt, 2 * STEPS, 1, seed)
            line = {"prompt": prompt, "pictures": [asdict(one) for one in pictures]}
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")


def load(results: Path) -> dict[str, list[Picture]]:
    """Read the results so far, by prompt."""
    lines = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    return {line["prompt"]: [Picture(**one) for one in line["pictures"]] for line in lines}


def table(results: Mapping[str, Sequence[Picture]]) -> Table:
    """Lay out, for each score, what seeds, more steps and the enlargement change."""
    shown = Table(
        "score",
        "mean",
        "deviation over seeds",
        "best of 2",
        "of 3",
        "of 4",
        "twice the steps",
        "enlarged",
        "decided otherwise",
    )
    for name, goal in SCORES.items():
        seeds = [[one for one in found if one.steps == STEPS] for found in results.values()]
        values = [[one.delivered[name] for one in found] for found in seeds]
        more = [
            one.delivered[name] - found[0].delivered[name]
            for found in results.values()
            for one in found
            if one.steps != STEPS
        ]
        bests = [statistics.mean(max(found[:k]) - found[0] for found in values) for k in (2, 3, 4)]
        changed = [abs(one.delivered[name] - one.drawn[name]) for found in seeds for one in found]
        otherwise = [
            (one.delivered[name] >= goal) != (one.drawn[name] >= goal) for found in seeds for one in found
        ]
        shown.add_row(
            name,
            f"{statistics.mean(statistics.mean(found) for found in values):.3f}",
            f"{statistics.mean(statistics.variance(found) for found in values) ** 0.5:.3f}",
            *(f"{best:+.3f}" for best in bests),
            f"{statistics.mean(more):+.3f} ± {statistics.stdev(more) / len(more) ** 0.5:.3f}",
            f"{statistics.mean(changed):.3f}",
            f"{statistics.mean(otherwise):.0%}",
        )
    return shown


def main() -> None:
    """Read the arguments, draw what is missing, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="what was done; goes on from there")
    parser.add_argument("--prompts", type=int, default=50, help="how many prompts")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.results, arguments.prompts))
    results = load(arguments.results)
    console = Console(width=120)
    console.print(table(results))
    console.print(
        f"{len(results)} prompts; enlarged: mean absolute change of the score, and pictures that are then on the other side "
        f"of a goal ({', '.join(f'{name} {goal}' for name, goal in SCORES.items())})"
    )


if __name__ == "__main__":
    main()
