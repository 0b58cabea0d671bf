"""What drawing again buys: 50 prompts on the house model through the mesh, drawn once and held against a goal.

    nice -n 19 python -m bench.loop --results loop.jsonl --pictures FOLDER [--plot loop.png] [--sheet sheet.png]

Uses the mesh that runs on this machine, or starts one. Every fourth prompt of bench/prompts/enhancement.txt is drawn once,
and with each of GOALS from the same seed, so that the first attempt is the picture that is drawn once. What is done
is in the results, one line a generation, and is not done again. The best of several raises the score that it was chosen
by, whatever that score is worth: the others, which it was not chosen by, tell whether the pictures are better. Four to
five generations a prompt; a quarter of an hour on two cores of its own.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.enhancement import PROMPTS, read
from scrollintel.visual import VisualClient, running
from scrollintel.visual.events import Judged
from services.local.bench.figures import quantile
from services.local.compare.sheet import Tile, grid
from services.local.mesh import local_mesh
from services.local.settings import LocalSettings

ONCE, PLOTTED = "once", "adherence"
GOALS: dict[str, dict[str, Any]] = {
    ONCE: {},
    "adherence": {"min_quality": 0.8, "quality_metric": "prompt_adherence", "max_attempts": 3},
    "overall": {"min_quality": 0.85, "quality_metric": "overall", "max_attempts": 3},
}
EVERY, SEED, SIZE, SECONDS, TILE, COLUMNS = 4, 7, 512, 110.0, 176, 6
SCORES = ("overall", "prompt_adherence", "technical", "sharpness", "composition", "color_balance")


@dataclass(frozen=True)
class Drawn:
    """One generation: how often it was drawn, how long that took, the scores of what was delivered, and the decisions."""

    prompt: str
    goal: str
    attempts: int
    seconds: float
    scores: Mapping[str, float]
    decisions: Sequence[str]
    file: str


async def generate(client: VisualClient, prompt: str, goal: str, file: Path) -> Drawn:
    """Draw a prompt under a goal, and keep the picture."""
    generation = client.generate_image(
        prompt,
        seed=SEED,
        width=SIZE,
        height=SIZE,
        model_preference="text_to_image_house",
        timeout=SECONDS,
        **GOALS[goal],
    )
    decisions = [str(event.decision) async for event in generation if isinstance(event, Judged)]
    result = await generation.result()
    (asset,) = result.assets
    await asyncio.to_thread(file.write_bytes, await asset.read())
    measured = {name: score.value for name, score in asset.quality.measured() if name in SCORES}
    attempts = int(asset.metadata.get("attempts", "1"))
    return Drawn(prompt, goal, attempts, result.seconds, measured, decisions, file.name)


async def measure(results: Path, pictures: Path) -> None:
    """Draw what is not in the results yet."""
    await asyncio.to_thread(pictures.mkdir, parents=True, exist_ok=True)
    done = {(one.prompt, one.goal) for one in load(results)}
    todo = [
        (number, prompt, goal)
        for number, (_, prompt) in enumerate(read(PROMPTS)[::EVERY])
        for goal in GOALS
        if (prompt, goal) not in done
    ]
    if not todo:
        return
    async with contextlib.AsyncExitStack() as stack:
        found = running.read(LocalSettings().home)
        address = (
            found.gateway if found else (await stack.enter_async_context(local_mesh(LocalSettings()))).address
        )
        client = await stack.enter_async_context(VisualClient(address))
        for number, prompt, goal in track(todo, "drawing"):
            drawn = await generate(client, prompt, goal, pictures / f"{number:02}-{goal}.png")
            with results.open("a") as file:
                file.write(json.dumps(asdict(drawn)) + "\n")


def load(results: Path) -> list[Drawn]:
    """Read the results so far."""
    return (
        [Drawn(**json.loads(line)) for line in results.read_text().splitlines()] if results.exists() else []
    )


def pairs(results: Sequence[Drawn], goal: str) -> list[tuple[Drawn, Drawn]]:
    """Return what was drawn once and under a goal, for each prompt that has both."""
    by = {(one.prompt, one.goal): one for one in results}
    return [
        (by[prompt, ONCE], by[prompt, goal])
        for prompt in dict.fromkeys(one.prompt for one in results)
        if (prompt, ONCE) in by and (prompt, goal) in by
    ]


def scores_table(results: Sequence[Drawn]) -> Table:
    """Lay out each score before and after: of all prompts, and the gain among those that were drawn again."""
    table = Table(
        "goal", "score", "chosen by", "before", "after", "gain", "gain where drawn again", "better", "worse"
    )
    for goal in list(GOALS)[1:]:
        found = pairs(results, goal)
        for name in SCORES:
            both = [
                (before.scores[name], after.scores[name], after.attempts > 1)
                for before, after in found
                if name in before.scores and name in after.scores
            ]
            gains = [after - before for before, after, _ in both]
            table.add_row(
                goal,
                name,
                "yes" if name == GOALS[goal]["quality_metric"] else "",
                f"{statistics.mean(before for before, _, _ in both):.3f}",
                f"{statistics.mean(after for _, after, _ in both):.3f}",
                mean(gains),
                mean([after - before for before, after, again in both if again]),
                str(sum(gain > 0.001 for gain in gains)),
                str(sum(gain < -0.001 for gain in gains)),
            )
    return table


def costs_table(results: Sequence[Drawn]) -> Table:
    """Lay out how many reach the goal, and what that takes."""
    table = Table(
        "goal",
        "prompts",
        "reach it at once",
        "reach it",
        "attempts a prompt",
        "P50 s",
        "P90 s",
        "mean s",
        "extra s",
    )
    for goal, asked in GOALS.items():
        found = pairs(results, goal)
        metric, least = asked.get("quality_metric", "overall"), asked.get("min_quality", 0.0)
        seconds = [after.seconds for _, after in found]
        table.add_row(
            goal,
            str(len(found)),
            str(sum(before.scores[metric] >= least for before, _ in found)) if asked else "",
            str(sum(after.scores[metric] >= least for _, after in found)) if asked else "",
            f"{statistics.mean(after.attempts for _, after in found):.2f}",
            f"{quantile(seconds, 0.5):.1f}",
            f"{quantile(seconds, 0.9):.1f}",
            f"{statistics.mean(seconds):.1f}",
            mean([after.seconds - before.seconds for before, after in found]) if asked else "",
        )
    return table


def mean(values: Sequence[float]) -> str:
    """Return a mean with its standard error."""
    if len(values) < 2:
        return ""
    return f"{statistics.mean(values):+.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def plot(results: Sequence[Drawn], path: Path) -> None:
    """Draw each prompt's score before and after: the one that was chosen by, and one that shares nothing with it."""
    goal = GOALS[PLOTTED]
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for axis, name in zip(axes, (goal["quality_metric"], "technical"), strict=True):
        found = [
            (one.scores[name], two.scores[name], two.attempts > 1)
            for one, two in pairs(results, PLOTTED)
            if name in one.scores and name in two.scores
        ]
        for before, after, again in found:
            axis.scatter(before, after, color="tab:blue" if again else "lightgrey", s=18)
        axis.axline((0.5, 0.5), slope=1, color="grey", linewidth=0.8)
        axis.set(xlabel="drawn once", xlim=(0, 1.02), ylim=(0, 1.02))
        axis.grid(alpha=0.3)
    axes[0].axhline(goal["min_quality"], color="tab:red", linestyle=":", linewidth=1)
    axes[0].set(title="prompt adherence, which is chosen by", ylabel=f"up to {goal['max_attempts']} attempts")
    axes[1].set(title="technical quality, which is not", xlim=(0.7, 1.005), ylim=(0.7, 1.005))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def sheet(results: Sequence[Drawn], pictures: Path) -> Image.Image:
    """Return the pictures that were drawn again, before beside after, for each goal."""
    tiles = []
    for goal in list(GOALS)[1:]:
        metric = GOALS[goal]["quality_metric"]
        for before, after in pairs(results, goal):
            if after.attempts > 1:
                for one, words in ((before, before.prompt), (after, f"{after.attempts} attempts")):
                    picture = Image.open(pictures / one.file)
                    tiles.append(Tile(picture, [f"{one.scores[metric]:.2f} {words}"]))
    return grid(tiles, COLUMNS, TILE)


def main() -> None:
    """Read the arguments, draw what is missing, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="what was done; goes on from there")
    parser.add_argument("--pictures", type=Path, required=True, help="where pictures are kept")
    parser.add_argument("--plot", type=Path, help="where the plot goes, a PNG file")
    parser.add_argument("--sheet", type=Path, help="where the contact sheet goes, a PNG file")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.results, arguments.pictures))
    results = load(arguments.results)
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.sheet:
        sheet(results, arguments.pictures).save(arguments.sheet, optimize=True)
    console = Console(width=140)
    console.print(scores_table(results))
    console.print(costs_table(results))


if __name__ == "__main__":
    main()
