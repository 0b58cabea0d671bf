"""`vmesh generate`: a picture from words, told as it happens."""

import asyncio
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual import Generation, GenerationCancelledError, GenerationResult, VisualMeshError
from scrollintel.visual.cli import estimate, failures, files, mesh, sizes
from scrollintel.visual.cli.interrupts import Interrupts
from scrollintel.visual.cli.timeline import Timeline
from scrollintel.visual.client import VisualClient

LEVELS = "none, light, standard or rich"
TIERS = "draft, standard or high"
OBJECTIVES = "balanced, quality, latency or cost"
METRICS = "overall, prompt_adherence, technical or aesthetic"


@dataclass(frozen=True, slots=True)
class Filling:
    """A template to make the prompt of."""

    template: str
    variables: dict[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """What one run of the command does."""

    prompt: str
    filling: Filling | None
    request: dict[str, Any]
    source: Path | None
    output: Path
    address: str | None
    home: Path
    timeout: float
    as_json: bool
    previews: bool
    estimated: bool = False


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="What to draw; left out with --template.", show_default=False)
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="A template's id, see `vmesh templates`.", metavar="ID")
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--var", help="What fills a template's hole; once for each.", metavar="NAME=VALUE"),
    ] = None,
    number: Annotated[int, typer.Option("-n", "--num-images", help="How many pictures, 1 to 16.")] = 1,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first picture; equal seeds give equal pictures.")
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size in pixels, such as 1024x768.")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels, 256 to 2048.")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels, 256 to 2048.")] = None,
    aspect_ratio: Annotated[
        str | None, typer.Option(metavar="W:H", help="Width to height, such as 16:9.")
    ] = None,
    style: Annotated[str | None, typer.Option(help="A style's name; left out, one is detected.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to keep out of the picture.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1 to 150.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly to follow the prompt, 0 to 30.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A model's name; left out, the router chooses.")] = None,
    objective: Annotated[str | None, typer.Option(help=f"What the router favours: {OBJECTIVES}.")] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(help="The most it may cost, in US dollars; 0 allows own models alone.", metavar="USD"),
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="A picture to change; only models that edit pictures take one.")
    ] = None,
    enhancement: Annotated[str | None, typer.Option(help=f"How far to rewrite the prompt: {LEVELS}.")] = None,
    quality: Annotated[str | None, typer.Option(help=f"How much work to spend: {TIERS}.")] = None,
    min_quality: Annotated[
        float | None,
        typer.Option(help="Draw a picture again while its score is under this, 0 to 1.", metavar="SCORE"),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(help="How often a picture is drawn at most, 1 to 4; with --min-quality.")
    ] = None,
    quality_metric: Annotated[
        str | None, typer.Option(help=f"Which score --min-quality is about: {METRICS}.")
    ] = None,
    estimated: Annotated[
        bool, typer.Option("--estimate", help="Tell what it would take and cost, and draw nothing.")
    ] = False,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A folder, or a file ending in .png.")
    ] = Path(),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a timeline.")
    ] = False,
    preview: Annotated[bool, typer.Option(help="Show previews where the terminal can.")] = True,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds the generation may take.")] = 120.0,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Draw pictures and write them as PNG files; starts a mesh for itself when none runs.

    Exit codes: 0 every picture was made, 1 some were not, 2 usage, 3 prompt, 4 model, 5 busy, 6 safety, 7 not found,
    8 no mesh, 9 out of time, 10 not served, 130 cancelled.
    """
    console = Console(stderr=True, quiet=as_json)
    try:
        width, height = sizes.sized(size, width, height)
        request = {
            "negative_prompt": negative,
            "style": style,
            "width": width,
            "height": height,
            "aspect_ratio": aspect_ratio,
            "num_images": number,
            "quality": quality,
            "seed": seed,
            "guidance_scale": guidance,
            "steps": steps,
            "model_preference": model,
            "enhancement_level": enhancement,
            "min_quality": min_quality,
            "max_attempts": max_attempts,
            "quality_metric": quality_metric,
            "objective": objective,
            "max_cost_usd": max_cost,
        }
        filling = _filling(prompt, template, variables or [])
        job = Job(
            prompt or "",
            filling,
            request,
            source,
            output,
            address,
            mesh.folder(home),
            timeout,
            as_json,
            preview,
            estimated,
        )
        code = asyncio.run(_run(job, console))
    except VisualMeshError as error:
        if as_json:
            sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
        else:
            failures.print_error(console, error)
        code = failures.exit_code(error)
    except asyncio.CancelledError:
        console.print("[yellow]cancelled[/] before the generation had started")
        code = failures.EXIT_CODES[GenerationCancelledError]
    except OSError as error:
        console.print(f"[red]cannot write[/] {escape(str(error))}")
        code = 1
    raise typer.Exit(code)


async def _run(job: Job, console: Console) -> int:
    with Timeline(console, previews=job.previews) as timeline, Interrupts() as interrupts:
        timeline.note("looking for a mesh")
        began = time.monotonic()
        async with mesh.find_or_start(job.address, job.home, timeline.note) as (address, started):
            if started:
                took = time.monotonic() - began
                hint = "[dim]`vmesh up` keeps one running[/]"
                timeline.line(None, "mesh", f"started in [bold]{took:.1f} s[/] for this picture; {hint}")
            async with VisualClient(address, timeout=job.timeout) as client:
                job = await _worded(job, client)
                source = None
                if job.source is not None:
                    timeline.note("sending the source picture")
                    source = await client.upload(job.source)
                if job.estimated:
                    timeline.note("estimating")
                    answer = await client.estimate_image(job.prompt, **job.request, source_image=source)
                    estimate.tell(answer, as_json=job.as_json)
                    return 0
                generation = client.generate_image(
                    job.prompt,
                    **job.request,
                    source_image=source,
                    previews=job.previews and console.is_terminal,
                )
                interrupts.stop(generation, timeline)
                result = await _follow(generation, timeline)
                timeline.note("saving")
                paths = await _save(result, job)
            timeline.note("stopping the mesh" if started else "closing")
            # Before the mesh ends: whoever waits for the picture has it now.
            _report(result, paths, job, console)
    return 1 if result.errors else 0


def _filling(prompt: str | None, template: str | None, variables: list[str]) -> Filling | None:
    """Return what is asked of a template; exactly one of prompt and template may be given."""
    if (prompt is None) == (template is None):
        raise typer.BadParameter("say what to draw, or name a --template: one of the two")
    if template is None:
        if variables:
            raise typer.BadParameter("--var fills a --template, and none is named")
        return None
    pairs = [text.partition("=") for text in variables]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise typer.BadParameter(f"--var {wrong[0]}: write NAME=VALUE")
    return Filling(template, {name: value for name, _, value in pairs})


async def _worded(job: Job, client: VisualClient) -> Job:
    """Return the job with its prompt: a template's comes with a style, which --style takes the place of."""
    if job.filling is None:
        return job
    filled = await client.fill_template(job.filling.template, job.filling.variables)
    style = job.request["style"] or filled.style or None
    return dataclasses.replace(job, prompt=filled.prompt, request=job.request | {"style": style})


async def _follow(generation: Generation, timeline: Timeline) -> GenerationResult:
    timeline.note("sending")
    async for event in generation:
        timeline.show(event)
    return await generation.result()


async def _save(result: GenerationResult, job: Job) -> list[Path]:
    count = max(1, job.request["num_images"] or 1)
    targets = [
        files.target(job.output, job.prompt, asset.seed, index, count)
        for index, asset in enumerate(result.assets)
    ]
    saves = [
        files.save(asset, path, replace=replace)
        for asset, (path, replace) in zip(result.assets, targets, strict=True)
    ]
    return list(await asyncio.gather(*saves))


def _report(result: GenerationResult, paths: list[Path], job: Job, console: Console) -> None:
    for error in result.errors:
        failures.print_error(console, error)
    if job.as_json:
        sys.stdout.write(json.dumps(_as_json(result, paths), indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{path}\n" for path in paths)
    sys.stdout.flush()


def _as_json(result: GenerationResult, paths: list[Path]) -> dict[str, Any]:
    return {
        "id": result.id,
        "state": result.state,
        "model": result.model_used,
        "seconds": round(result.seconds, 3),
        "cost_usd": result.cost_usd,
        "provenance": result.provenance,
        "files": [
            {
                "path": str(path),
                "seed": asset.seed,
                "width": asset.media.width,
                "height": asset.media.height,
                "asset": asset.id,
                "attempts": int(asset.metadata.get("attempts", "1")),
                "quality": {name: round(score.value, 4) for name, score in asset.quality.measured()},
            }
            for path, asset in zip(paths, result.assets, strict=True)
        ],
        "errors": [failures.as_json(error) for error in result.errors],
    }
