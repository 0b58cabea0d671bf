"""The command: a mesh, the loop, and the figures as a table, a file and a plot."""

import asyncio
import json
import os
import platform
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from scrollintel.visual import VisualClient, VisualMeshError, running
from scrollintel.visual.cli import failures
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from services.local import embedded
from services.local.bench import paths, plot
from services.local.bench.figures import Figures, figures, stages
from services.local.bench.loop import Measured, measure
from services.local.bench.paths import Work
from services.runtime.channels import connect
from services.runtime.triton import TritonClient


def run(home: Path | None, requests: int, callers: int, steps: int, seconds: float, output: Path) -> int:
    """Measure, print and save; returns the exit code."""
    console = Console()
    folder = (home or running.default_home()).expanduser()
    try:
        measured = asyncio.run(_run(folder, requests, callers, Work(steps), seconds, console))
    except VisualMeshError as error:
        failures.print_error(Console(stderr=True), error)
        return failures.exit_code(error)
    found = {name: figures(name, one.samples, one.busy_seconds) for name, one in measured.items()}
    parts = stages(measured["gateway"].samples)
    _print(console, found, parts, measured)
    stem = output / f"mesh-c{callers}-s{steps}"
    output.mkdir(parents=True, exist_ok=True)
    report = _report(found, parts, measured, callers, Work(steps))
    stem.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
    count = found["gateway"].requests
    title = f"{paths.MODEL}, {steps} steps, {callers} at one time, {count} requests a path"
    plot.draw(
        stem.with_suffix(".png"),
        title,
        {name: [s.drawn for s in one.samples] for name, one in measured.items()},
    )
    console.print(f"\n{escape(str(stem))}.json and .png hold the figures and the plot")
    return 0


async def _run(
    home: Path, requests: int, callers: int, work: Work, seconds: float, console: Console
) -> dict[str, Measured]:
    async with AsyncExitStack() as stack:
        with console.status("starting a mesh") as status:
            mesh = await stack.enter_async_context(embedded.mesh(home=home, tell=status.update))
        client = await stack.enter_async_context(VisualClient(mesh.address))
        triton = await stack.enter_async_context(TritonClient(mesh.triton.grpc_address))
        channel = await stack.enter_async_context(connect(mesh.servers["router"]))
        ways = {
            "triton": paths.triton(triton, work),
            "router": paths.router(RouterServiceStub(channel), work),
            "gateway": paths.gateway(client, work),
        }
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("measuring", total=requests * len(ways))
            return await measure(ways, requests, callers, seconds, lambda done: progress.advance(task, done))


def _print(
    console: Console,
    found: dict[str, Figures],
    parts: dict[str, tuple[float, float]],
    measured: dict[str, Measured],
) -> None:
    direct = found["triton"]
    title = "milliseconds to the last denoising step"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for column in ("path", "n", "P50", "P90", "P99", "+P50", "+P99", "a second"):
        table.add_column(column, justify="left" if column == "path" else "right", no_wrap=True)
    for one in found.values():
        over = ["", ""] if one is direct else [_ms(one.p50 - direct.p50, "+"), _ms(one.p99 - direct.p99, "+")]
        row = [one.path, str(one.requests), _ms(one.p50), _ms(one.p90), _ms(one.p99), *over]
        table.add_row(*row, f"{one.per_second:.2f}")
    console.print(table)
    if direct.requests < 100:
        console.print(
            f"[dim]+ is over direct Triton; of {direct.requests} requests the P99 is the slowest one[/]"
        )
    table = Table(
        title="milliseconds in each stage of the gateway's path",
        title_justify="left",
        box=None,
        padding=(0, 2),
    )
    for column in ("stage", "P50", "P99"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, (p50, p99) in parts.items():
        table.add_row(name, _ms(p50), _ms(p99))
    console.print("", table)


def _ms(seconds: float, sign: str = "") -> str:
    return f"{seconds * 1000:{sign}.1f}"


def _report(
    found: dict[str, Figures],
    parts: dict[str, tuple[float, float]],
    measured: dict[str, Measured],
    callers: int,
    work: Work,
) -> dict[str, Any]:
    direct, door = found["triton"], found["gateway"]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "model": paths.MODEL,
        "work": asdict(work),
        "callers": callers,
        "seconds": {name: asdict(one) for name, one in found.items()},
        "overhead_seconds": {"p50": door.p50 - direct.p50, "p99": door.p99 - direct.p99},
        "stages_seconds": {name: {"p50": p50, "p99": p99} for name, (p50, p99) in parts.items()},
        "samples_seconds": {name: [round(s.drawn, 6) for s in one.samples] for name, one in measured.items()},
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        cpu = ""
    load = os.getloadavg()[0]
    return {
        "cpu": cpu or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_when_saved": round(load, 2),
    }
