"""`vmesh enhance`: pictures restored and enlarged, told as it happens."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual import (
    Asset,
    Deblur,
    Denoise,
    GenerationCancelledError,
    Operation,
    RestoreFaces,
    Upscale,
    VisualMeshError,
)
from scrollintel.visual.cli import failures, files, mesh
from scrollintel.visual.cli.interrupts import Interrupts
from scrollintel.visual.cli.progress import Progress
from scrollintel.visual.cli.timeline import Timeline
from scrollintel.visual.client import VisualClient
from scrollintel.visual.requests import broken

SUFFIX = "-enhanced"
SECONDS = 600.0
PICTURES = frozenset({".jpg", ".jpeg", ".webp"})  # what nobody means to call a folder


@dataclass(frozen=True, slots=True)
class Job:
    """What one run of the command does."""

    sources: tuple[Path, ...]
    operations: tuple[Operation, ...]
    output: Path | None
    address: str | None
    home: Path
    timeout: float
    as_json: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one file: where its result is, or why there is none."""

    source: Path
    seconds: float
    path: Path | None = None
    asset: Asset | None = None
    error: VisualMeshError | OSError | None = None


def enhance(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="PNG, JPEG or WebP pictures.", show_default=False)
    ],
    upscale: Annotated[int | None, typer.Option(metavar="2|4", help="Enlarge by this factor.")] = None,
    denoise: Annotated[bool, typer.Option("--denoise", help="Remove noise.")] = False,
    deblur: Annotated[bool, typer.Option("--deblur", help="Remove motion and focus blur.")] = False,
    restore_faces: Annotated[bool, typer.Option("--restore-faces", help="Repair faces.")] = False,
    fidelity: Annotated[
        float | None,
        typer.Option(help="With --restore-faces: 0 the best looking (default) to 1 the most faithful."),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(help="With --upscale: compact (default, fast), x4plus or x4plus-anime (slow)."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="A file ending in .png, or a folder; left out, NAME-enhanced.png beside each file.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a timeline.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds each picture may take.")] = SECONDS,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Restore and enlarge pictures, and write them as PNG files; starts a mesh for itself when none runs.

    Whatever order the options have, noise goes first, then blur, then the picture is enlarged, and faces come last, in
    the size that they end up with. Files are worked on in turn; one that fails does not stop the others.

    Exit codes: 0 every picture was made, 1 some were not, 2 usage, 3 request, 4 model, 5 busy, 6 safety, 7 not found,
    8 no mesh, 9 out of time, 10 not served, 130 cancelled.
    """
    console = Console(stderr=True, quiet=as_json)
    try:
        chosen = _operations(upscale, variant, denoise, deblur, restore_faces, fidelity)
        _check_output(output, sources)
        job = Job(tuple(sources), chosen, output, address, mesh.folder(home), timeout, as_json)
        done = asyncio.run(_run(job, console))
        code = _exit_code(done, len(sources))
    except VisualMeshError as error:
        _print_error(error, console, as_json)
        code = failures.exit_code(error)
    except OSError as error:
        _print_error(error, console, as_json)
        code = 1
    except asyncio.CancelledError:
        console.print("[yellow]cancelled[/]")
        code = failures.EXIT_CODES[GenerationCancelledError]
    raise typer.Exit(code)


def _operations(
    upscale: int | None,
    variant: str | None,
    denoise: bool,
    deblur: bool,
    restore_faces: bool,
    fidelity: float | None,
) -> tuple[Operation, ...]:
    """Return what was asked for in the order in which it is best done; the enlargement that was not asked for is none."""
    if variant is not None and upscale is None:
        raise broken("variant", "requires", "says how to enlarge: give --upscale 2 or --upscale 4 with it")
    if fidelity is not None and not restore_faces:
        raise broken("fidelity", "requires", "says how to repair faces: give --restore-faces with it")
    chosen: list[Operation] = []
    if denoise:
        chosen.append(Denoise())
    if deblur:
        chosen.append(Deblur())
    if upscale is not None:
        weights: Any = variant or "compact"
        chosen.append(Upscale(factor=upscale, variant=weights))
    if restore_faces:
        chosen.append(RestoreFaces(fidelity=fidelity or 0.0))
    if not chosen:
        raise broken(
            "operations", "min_items", "give at least one of --upscale, --denoise, --deblur, --restore-faces"
        )
    return tuple(chosen)


def _check_output(output: Path | None, sources: Sequence[Path]) -> None:
    if output is None:
        return
    if output.suffix.lower() in PICTURES and not output.is_dir():
        raise broken("output", "suffix", "results are PNG: name a file ending in .png, or a folder")
    if output.suffix.lower() != ".png":
        return
    if len(sources) > 1:
        raise broken("output", "exclusive", f"one file cannot hold {len(sources)} pictures: name a folder")
    if output.exists() and sources[0].exists() and output.samefile(sources[0]):
        raise broken("output", "exclusive", "would replace the picture itself: name another file")


async def _run(job: Job, console: Console) -> list[Done]:
    with Timeline(console, previews=False) as timeline, Interrupts() as interrupts:
        timeline.note("looking for a mesh")
        began = time.monotonic()
        async with mesh.find_or_start(job.address, job.home, timeline.note) as (address, started):
            if started:
                took = time.monotonic() - began
                hint = "[dim]`vmesh up` keeps one running[/]"
                timeline.line(None, "mesh", f"started in [bold]{took:.1f} s[/] for these pictures; {hint}")
            done = []
            async with VisualClient(address, timeout=job.timeout) as client:
                for source in job.sources:
                    done.append(await _restore(source, job, client, timeline, interrupts))
                    _tell(done[-1], job, timeline, console)
                    if interrupts.asked or isinstance(done[-1].error, GenerationCancelledError):
                        break
            timeline.note("stopping the mesh" if started else "closing")
            if job.as_json:
                sys.stdout.write(json.dumps({"files": [_as_json(each) for each in done]}, indent=2) + "\n")
                sys.stdout.flush()
    return done


async def _restore(
    source: Path, job: Job, client: VisualClient, timeline: Timeline, interrupts: Interrupts
) -> Done:
    """Bring one file through; its failure is its own."""
    began = time.monotonic()
    try:
        timeline.note(f"uploading {source.name}")
        uploaded = await client.upload(source)
        size = f"{uploaded.media.width} × {uploaded.media.height}"
        timeline.line(None, "picture", f"{escape(str(source))} [dim]{size}[/]")
        generation = client.enhance_image(uploaded, *job.operations)
        interrupts.stop(generation, timeline)
        progress = Progress(job.operations, timeline, began)
        async for event in generation:
            progress.hear(event)
        asset = (await generation.result()).assets[0]
        timeline.note("saving")
        target, replace = _target(source, job.output)
        path = await files.save(asset, target, replace=replace)
    except (VisualMeshError, OSError) as error:
        return Done(source, time.monotonic() - began, error=error)
    finally:
        interrupts.forget()
    return Done(source, time.monotonic() - began, path=path, asset=asset)


def _target(source: Path, output: Path | None) -> tuple[Path, bool]:
    """Return where a result goes and whether a file there may be replaced: only one that was named in full may."""
    name = f"{source.stem}{SUFFIX}.png"
    if output is None:
        return source.with_name(name), False
    if output.suffix.lower() == ".png":
        return output, True
    return output / name, False


def _tell(done: Done, job: Job, timeline: Timeline, console: Console) -> None:
    if done.error is not None:
        console.print(f"[red]failed[/] {escape(str(done.source))}")
        if not job.as_json:
            _print_error(done.error, console, as_json=False)
        return
    assert done.asset
    media = done.asset.media
    size = f"{media.width} × {media.height}, {media.size_bytes / 1e6:.1f} MB"
    timeline.line(done.seconds, "done", f"{size} in [bold]{done.seconds:.1f} s[/]")
    if not job.as_json:
        sys.stdout.write(f"{done.path}\n")
        sys.stdout.flush()


def _print_error(error: VisualMeshError | OSError, console: Console, as_json: bool) -> None:
    if isinstance(error, OSError):
        console.print(f"[red]cannot read or write[/] {escape(str(error))}")
    elif as_json:
        sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
    else:
        failures.print_error(console, error)


def _exit_code(done: Sequence[Done], wanted: int) -> int:
    """Return 0 when all was made, the failure's own code when one failure is all there is, else 1.

    Where it was stopped, before all of the `wanted` pictures had their turn too, that of a cancelled one.
    """
    errors = [each.error for each in done if each.error is not None]
    if len(done) < wanted or any(isinstance(error, GenerationCancelledError) for error in errors):
        return failures.EXIT_CODES[GenerationCancelledError]
    if len(done) == 1 and errors and isinstance(errors[0], VisualMeshError):
        return failures.exit_code(errors[0])
    return 1 if errors else 0


def _as_json(done: Done) -> dict[str, Any]:
    told: dict[str, Any] = {"source": str(done.source), "seconds": round(done.seconds, 3)}
    if isinstance(done.error, VisualMeshError):
        return told | {"error": failures.as_json(done.error)}
    if done.error is not None:
        return told | {"error": {"message": str(done.error)}}
    assert done.asset
    return told | {
        "path": str(done.path),
        "width": done.asset.media.width,
        "height": done.asset.media.height,
        "asset": done.asset.id,
    }
