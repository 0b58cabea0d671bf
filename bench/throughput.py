"""What batching across callers is worth: two checkouts side by side, in one run, on one machine.

    git worktree add /tmp/before <commit>
    python bench/throughput.py before=/tmp/before after=. --output bench/results

Each checkout runs its own mesh from its own home; bursts of requests take turns between them, so that whatever else the
machine does falls on both alike. Measured are, for each checkout:

- pictures a second, the time of one and the processor time for it at 1, 4 and 16 callers, on Triton directly and through the whole mesh;
- megapixels (of the input) a second of the upscaler, and the time of one picture, at 1, 4 and 16 callers;
- the time of a small request alone, beside one large one that never ends, and beside two.

Trust the ratios between two checkouts. Prints tables, saves JSON and draws the times as a plot.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from scrollintel.visual import VisualClient, running
from services.local.bench import paths, plot
from services.local.bench.command import machine
from services.local.bench.figures import Sample, quantile
from services.runtime.errors import MeshError
from services.runtime.triton import TritonClient

CALLERS = (1, 4, 16)
START_SECONDS = 300.0
TURNS = 4  # of each checkout, at least: in each, every caller sends one request
TICKS = os.sysconf("SC_CLK_TCK")
SETTLE = 2.0  # seconds until large requests are under way, or have stopped
LOG = "bench.log"
UPSCALER = "upscale_realesrgan"
STEPS = 8
SIDE = 96  # pixels of a picture to enlarge: one tile
GIVE_UP = 60.0
"""A small request that took this long beside a large one has starved; it is counted with this time."""

Request = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Contender:
    """A checkout's mesh."""

    name: str
    mesh: running.RunningMesh
    client: VisualClient
    triton: TritonClient


def start(checkout: Path, home: Path) -> "subprocess.Popen[bytes]":
    """Start a checkout's own mesh in a process of its own."""
    home.mkdir(parents=True, exist_ok=True)
    cli = "scrollintel.visual.cli"
    command = [sys.executable, "-m", cli, "up", "--home", str(home), "--listen", "127.0.0.1:0"]
    path = os.pathsep.join(str(checkout / part) for part in (".", "clients/python"))
    with (home / LOG).open("w") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter, on a checkout that the caller named
            command, cwd=checkout, env=os.environ | {"PYTHONPATH": path}, stdout=log, stderr=log
        )


@asynccontextmanager
async def contender(name: str, checkout: Path, home: Path) -> AsyncIterator[Contender]:
    """Run a checkout's mesh while the body runs."""
    process = await asyncio.to_thread(start, checkout, home)
    try:
        until = time.monotonic() + START_SECONDS
        while (mesh := running.read(home)) is None or mesh.pid != process.pid:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{name} did not start; see {home / LOG}")
            await asyncio.sleep(0.2)
        async with VisualClient(mesh.gateway) as client, TritonClient(mesh.triton) as triton:
            yield Contender(name, mesh, client, triton)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


def upscale(triton: TritonClient, side: int) -> paths.Path:
    """Return a path that enlarges one square picture; each is another, of the same size."""

    async def enlarge(seed: int) -> Sample:
        image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
        began = time.perf_counter()
        await triton.infer(UPSCALER, {"image": image}, timeout=paths.REQUEST_SECONDS)
        seconds = time.perf_counter() - began
        return Sample("upscale", seconds, seconds, {})

    return enlarge


def drawing(triton: TritonClient, images: int, steps: int) -> Request:
    """Return a request that draws on Triton, of any size."""

    async def draw(seed: int) -> None:
        inputs = {
            "prompt": np.array([paths.PROMPT], dtype=object),
            "seeds": np.arange(seed, seed + images, dtype=np.int64),
            "steps": np.array([steps], dtype=np.int32),
            "guidance_scale": np.array([paths.GUIDANCE], dtype=np.float32),
        }
        async for _ in triton.stream(
            paths.MODEL, inputs, request_id=f"b{seed}", timeout=10 * paths.REQUEST_SECONDS
        ):
            pass

    return draw


def enlarging(triton: TritonClient, side: int) -> Request:
    """Return a request that enlarges a square picture of any size."""
    image = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)

    async def enlarge(_: int) -> None:
        await triton.infer(UPSCALER, {"image": image}, timeout=10 * paths.REQUEST_SECONDS)

    return enlarge


async def throughput(
    contenders: list[Contender],
    work: str,
    make: Callable[[Contender], paths.Path],
    unit: float,
    requests: int,
) -> list[dict[str, Any]]:
    """Measure one kind of work at each number of callers; `unit` is what one request counts for.

    Processor time is that of all the mesh's processes: what other programs take of the machine does not count in it.
    """
    rows = []
    for callers in CALLERS:
        found: dict[str, dict[str, Any]] = {
            one.name: {
                "work": work,
                "callers": callers,
                "checkout": one.name,
                "seconds": [],
                "failed": [],
                "busy_seconds": 0.0,
                "processor_seconds": 0.0,
            }
            for one in contenders
        }
        ways = {one.name: make(one) for one in contenders}
        await asyncio.gather(*(way(0) for way in ways.values()), return_exceptions=True)  # warms up
        for turn in range(max(TURNS, requests // callers)):
            for one in contenders if turn % 2 else contenders[::-1]:
                row, used, began = found[one.name], processor_seconds(one.mesh.pid), time.perf_counter()
                sent = (ways[one.name](100 * turn + number) for number in range(callers))
                ended = await asyncio.gather(*sent, return_exceptions=True)
                row["busy_seconds"] += time.perf_counter() - began
                row["processor_seconds"] += processor_seconds(one.mesh.pid) - used
                row["seconds"] += [sample.drawn for sample in ended if isinstance(sample, Sample)]
                row["failed"] += [str(error) for error in ended if isinstance(error, BaseException)]
        for row in found.values():
            count = len(row["seconds"])
            if not count:
                raise RuntimeError(f"{work}: nothing succeeded: {row['failed'][:3]}")
            row["per_second"] = unit * count / row["busy_seconds"]
            row["processor_seconds_each"] = row["processor_seconds"] / count
            rows.append(row)
    return rows


def processor_seconds(root: int) -> float:
    """Return the processor time that a process and all below it have used."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            parents[pid], used[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    tree = {root}
    while below := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= below
    return sum(used.get(pid, 0.0) for pid in tree)


@contextlib.asynccontextmanager
async def busy(large: Request, count: int) -> AsyncIterator[None]:
    """Keep `count` large requests going while the body runs, one after the other."""

    async def endless(number: int) -> None:
        while True:
            await large(1000 * number)

    tasks = [asyncio.create_task(endless(number)) for number in range(1, count + 1)]
    try:
        await asyncio.sleep(SETTLE if count else 0.0)
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, MeshError):
                raise outcome


async def fairness(
    contenders: list[Contender],
    work: str,
    small: Callable[[Contender], Request],
    large: Callable[[Contender], Request],
    requests: int,
) -> list[dict[str, Any]]:
    """Measure how long a small request takes beside none, one and two large ones."""
    rows = []
    for count in (0, 1, 2):
        for one in contenders:
            request, seconds = small(one), []
            await request(0)
            async with busy(large(one), count):
                for seed in range(requests):
                    began = time.perf_counter()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(GIVE_UP):
                            await request(seed)
                    seconds.append(time.perf_counter() - began)
                    if seconds[-1] >= GIVE_UP:
                        break
            rows.append({"work": work, "beside": count, "checkout": one.name, "seconds": seconds})
            await asyncio.sleep(SETTLE)  # what was cancelled stops before its next step or tile
    return rows


def show(console: Console, title: str, rows: list[dict[str, Any]], by: str) -> None:
    """Print rows as a table, a checkout beside the other."""
    names = list(dict.fromkeys(row["checkout"] for row in rows))
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for column in (
        "work",
        by,
        *(f"{name} {what}" for name in names for what in ("/s", "P50 ms", "P95 ms", "CPU ms")),
    ):
        table.add_column(column, justify="left" if column == "work" else "right")
    for work, key in dict.fromkeys((row["work"], row[by]) for row in rows):
        cells = []
        for name in names:
            (row,) = [row for row in rows if (row["work"], row[by], row["checkout"]) == (work, key, name)]
            rate = f"{row['per_second']:.3g}" if "per_second" in row else ""
            used = f"{row['processor_seconds_each'] * 1000:.0f}" if "processor_seconds_each" in row else ""
            cells += [rate, *(f"{quantile(row['seconds'], q) * 1000:.0f}" for q in (0.5, 0.95)), used]
        table.add_row(work, str(key), *cells)
    console.print(table)


async def run(checkouts: dict[str, Path], homes: Path, requests: int, console: Console) -> dict[str, Any]:
    """Start the meshes and measure everything."""
    async with AsyncExitStack() as stack:
        contenders = []
        for name, checkout in checkouts.items():
            contenders.append(await stack.enter_async_context(contender(name, checkout, homes / name)))
            console.print(f"{name}: {checkout} serves at {contenders[-1].mesh.gateway}")
        work = paths.Work(STEPS)
        rates: list[dict[str, Any]] = []
        beside: list[dict[str, Any]] = []
        for title, make, unit, count in (
            (
                f"house, {STEPS} steps, direct: pictures",
                lambda one: paths.triton(one.triton, work),
                1.0,
                requests,
            ),
            (f"upscale {SIDE}²: megapixels", lambda one: upscale(one.triton, SIDE), SIDE**2 / 1e6, requests),
        ):
            rates += await throughput(contenders, title, make, unit, count)
            show(console, "throughput", [row for row in rates if row["work"] == title], "callers")
        for title, small, large in (
            (
                "1 picture, 4 steps, beside 16 of 100 steps",
                lambda one: drawing(one.triton, 1, 4),
                lambda one: drawing(one.triton, 16, 100),
            ),
            (
                "upscale 64² beside 2048²",
                lambda one: enlarging(one.triton, 64),
                lambda one: enlarging(one.triton, 2048),
            ),
        ):
            beside += await fairness(contenders, title, small, large, max(3, requests // 4))
            show(
                console,
                "a small request beside large ones",
                [r for r in beside if r["work"] == title],
                "beside",
            )
        title = f"house, {STEPS} steps, mesh: pictures"
        rates += await throughput(
            contenders, title, lambda one: paths.gateway(one.client, work), 1.0, requests
        )
        show(console, "throughput", [row for row in rates if row["work"] == title], "callers")
    return {"throughput": rates, "fairness": beside}


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="+", metavar="NAME=DIRECTORY")
    parser.add_argument("--requests", type=int, default=24, help="of each kind, at each number of callers")
    parser.add_argument("--homes", type=Path, default=Path.home() / ".cache" / "visual-mesh" / "bench")
    parser.add_argument("--output", type=Path, default=Path("bench/results"))
    given = parser.parse_args()
    checkouts = {
        name: Path(path).resolve() for name, _, path in (one.partition("=") for one in given.checkouts)
    }
    console = Console(width=160)
    before = os.getloadavg()[0]
    found = asyncio.run(run(checkouts, given.homes, given.requests, console))
    given.output.mkdir(parents=True, exist_ok=True)
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine() | {"load_before": round(before, 2)},
        **found,
    }
    (given.output / "throughput.json").write_text(json.dumps(report, indent=2) + "\n")
    most = [row for row in found["throughput"] if row["callers"] == CALLERS[-1] and "direct" in row["work"]]
    title = f"{CALLERS[-1]} callers, {STEPS} steps, on Triton directly"
    plot.draw(given.output / "throughput.png", title, {row["checkout"]: row["seconds"] for row in most})
    beside = [row for row in found["fairness"] if row["beside"] and "picture" in row["work"]]
    title = "a small drawing beside large ones"
    lines = {f"{row['checkout']}, {row['beside']} large": row["seconds"] for row in beside}
    plot.draw(given.output / "fairness.png", title, lines)
    console.print(
        f"{given.output}/throughput.json, throughput.png and fairness.png hold the figures and the plots"
    )


if __name__ == "__main__":
    main()
