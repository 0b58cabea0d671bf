"""What enhancing a prompt buys: each level against the prompt as it was typed, drawn by the house model.

    nice python -m bench.enhancement [--steps 24] [--sample 200] [--seed 7] [--json enhancement.json]

Starts a Triton and a prompt server of its own. Every prompt of bench/prompts/enhancement.txt is enhanced at every level
and drawn with one seed, in the wording for a model of no dialect; equal wordings are drawn once. Pictures are scored against the words that were typed: prompt
adherence by the house matcher, technical quality by the quality server's own measures, both on the model's 64 x 64.
Differences are paired by prompt, with the standard error of their mean. Ten to fifteen minutes on two cores.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scrollintel.visual.v1 import prompt_pb2, spec_pb2
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceStub
from services.local.bench.figures import quantile
from services.local.triton import Triton, TritonSettings
from services.models.build import build_repository
from services.models.presence import served_repository
from services.prompt.service import spec
from services.prompt.settings import Settings
from services.prompt.wording import Wording
from services.quality.matcher import MATCHER, TEXT, Matcher
from services.quality.measure import Learnt, measure
from services.quality.settings import Settings as QualitySettings
from services.runtime.channels import connect
from services.runtime.server import serve
from services.runtime.settings import default_home
from services.runtime.triton import TritonClient

PROMPTS = Path(__file__).parent / "prompts" / "enhancement.txt"
PAINTER = "text_to_image_house"
GUIDANCE = 2.5  # as router/backends.yaml draws
SECONDS = 120.0
NOBODY = "127.0.0.1:1"  # an asset server, which enhancement never asks
LEVELS = {"none": 1, "light": 2, "standard": 3, "rich": 4}


@dataclass(frozen=True)
class Result:
    """One prompt at one level."""

    group: str
    prompt: str
    level: str
    enhanced: str
    style: str
    milliseconds: float
    kept: bool
    adherence: float
    technical: float | None


def read(path: Path) -> list[tuple[str, str]]:
    """Return (group, prompt) for each prompt of the file."""
    group, found = "", []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#"):
            group = line.removeprefix("#").partition(":")[0].strip()
        elif line.strip():
            found.append((group, line.strip()))
    return found


class Studio:
    """Draws and scores; equal wordings have equal pictures, which are drawn once."""

    def __init__(self, triton: TritonClient, matcher: Matcher, steps: int, seed: int) -> None:
        self._triton = triton
        self._matcher = matcher
        self._learnt = Learnt.load()
        self._steps = steps
        self._seed = seed
        self._drawn: dict[str, NDArray[np.uint8]] = {}

    async def picture(self, prompt: str) -> NDArray[np.uint8]:
        """Return the picture of a prompt, [64, 64, 3]."""
        if prompt not in self._drawn:
            inputs = {
                "prompt": np.array([prompt], dtype=object),
                "seeds": np.array([self._seed], dtype=np.int64),
                "steps": np.array([self._steps], dtype=np.int32),
                "guidance_scale": np.array([GUIDANCE], dtype=np.float32),
            }
            name = f"enhancement-{len(self._drawn)}"
            async for answer in self._triton.stream(PAINTER, inputs, request_id=name, timeout=SECONDS):
                if answer["images"].size:
                    self._drawn[prompt] = answer["images"][0]
        return self._drawn[prompt]

    async def scores(self, drawn: str, typed: str) -> tuple[float, float | None]:
        """Return the adherence to `typed` of what `drawn` draws, and its technical quality."""
        picture = await self.picture(drawn)
        seen = await self._matcher.look(picture, typed)
        if seen is None or seen.adherence is None:
            raise RuntimeError("the matcher does not answer")
        technical = (await asyncio.to_thread(measure, picture, self._learnt)).get("technical")
        return seen.adherence.value, technical.value if technical else None


async def compare(prompts: Sequence[tuple[str, str]], home: Path, steps: int, seed: int) -> list[Result]:
    """Enhance, draw and score every prompt at every level."""
    await asyncio.to_thread(build_repository, home)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        models = (TEXT, MATCHER, PAINTER)
        async with Triton(TritonSettings(Path(scratch), served_repository(home), models)) as server:
            await server.wait_ready(SECONDS)
            settings = Settings.model_validate(
                {"home": Path(scratch), "triton_address": server.grpc_address, "assets_address": NOBODY}
            )
            matcher_settings = QualitySettings.model_validate({"home": home})
            async with (
                serve(spec(settings)) as room,
                connect(room.address) as channel,
                TritonClient(server.grpc_address) as triton,
            ):
                stub = PromptServiceStub(channel)
                studio = Studio(triton, Matcher(triton, matcher_settings.calibration_path), steps, seed)
                for group, prompt in track(prompts, "enhancing, drawing, scoring"):
                    for level, number in LEVELS.items():
                        request = prompt_pb2.EnhancePromptRequest(
                            prompt=prompt, level=spec_pb2.EnhancementLevel.ValueType(number)
                        )
                        began = time.perf_counter()
                        answer = await stub.EnhancePrompt(request, timeout=SECONDS)
                        milliseconds = 1000 * (time.perf_counter() - began)
                        kept = Wording.of(prompt).content <= Wording.of(answer.prompt).content
                        adherence, technical = await studio.scores(answer.prompt, prompt)
                        results.append(
                            Result(
                                group,
                                prompt,
                                level,
                                answer.prompt,
                                answer.style,
                                milliseconds,
                                kept,
                                adherence,
                                technical,
                            )
                        )
    return results


def gain(results: Sequence[Result], level: str, figure: str) -> str:
    """Return what a level changes in a figure against the same prompts as typed, with its standard error."""
    typed = {one.prompt: getattr(one, figure) for one in results if one.level == "none"}
    found = [
        getattr(one, figure) - typed[one.prompt]
        for one in results
        if one.level == level and getattr(one, figure) is not None and typed[one.prompt] is not None
    ]
    if len(found) < 2:
        return ""
    return f"{statistics.mean(found):+.3f} ± {statistics.stdev(found) / len(found) ** 0.5:.3f}"


def table(results: Sequence[Result]) -> Table:
    """Lay the figures out, by group and level."""
    shown = Table(
        "group",
        "level",
        "prompts",
        "changed",
        "words kept",
        "adherence",
        "technical",
        "gain",
        "technical gain",
    )
    for group in [*dict.fromkeys(one.group for one in results), "all"]:
        own = [one for one in results if group in ("all", one.group)]
        for level in LEVELS:
            rows = [one for one in own if one.level == level]
            technical = [one.technical for one in rows if one.technical is not None]
            shown.add_row(
                group,
                level,
                str(len(rows)),
                str(sum(one.enhanced != one.prompt for one in rows)),
                f"{sum(one.kept for one in rows)}/{len(rows)}",
                f"{statistics.mean(one.adherence for one in rows):.3f}",
                f"{statistics.mean(technical):.3f}" if technical else "",
                gain(own, level, "adherence") if level != "none" else "",
                gain(own, level, "technical") if level != "none" else "",
            )
    return shown


def main() -> None:
    """Read the arguments, measure, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=default_home(), help="where models are built")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument(
        "--sample", type=int, default=200, help="every n-th prompt, so that this many are left"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where every single result goes")
    arguments = parser.parse_args()
    prompts = read(PROMPTS)
    prompts = prompts[:: max(1, len(prompts) // arguments.sample)]
    results = asyncio.run(compare(prompts, arguments.home, arguments.steps, arguments.seed))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in results], indent=1))
    console = Console(width=140)
    console.print(table(results))
    for level in LEVELS:
        spent = [one.milliseconds for one in results if one.level == level]
        console.print(
            f"EnhancePrompt, {level}: P50 {quantile(spent, 0.5):.1f} ms, P95 {quantile(spent, 0.95):.1f} ms"
        )


if __name__ == "__main__":
    main()
