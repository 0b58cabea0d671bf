"""`vmesh up`: the mesh in the foreground, or left running."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scrollintel.visual import running
from services.local import logs
from services.local.mesh import START_ERRORS, LocalMesh, local_mesh
from services.local.settings import LocalSettings
from services.runtime.server import stop_signal

DETACH_SECONDS = 600.0  # models may have to be fetched first, and converted: 70 s on two busy cores
POLL_SECONDS = 0.1


def run_here(home: Path | None, listen: str | None) -> int:
    """Run the mesh until a signal; returns the exit code."""
    settings = _settings(home, listen)
    console = Console()
    if _runs_already(settings.home, console):
        return 1
    try:
        asyncio.run(_serve(settings, console))
    except START_ERRORS as error:
        console.print(f"[red]the mesh cannot run:[/] {escape(str(error))}")
        return 1
    return 0


def run_detached(home: Path | None, listen: str | None) -> int:
    """Start the mesh in a process of its own and wait until it serves; returns the exit code."""
    settings = _settings(home, listen)
    console = Console()
    if _runs_already(settings.home, console):
        return 1
    out = settings.home / "logs" / "up.log"
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "scrollintel.visual.cli", "up"]
    command += ["--home", str(settings.home), "--listen", settings.listen]
    with out.open("w") as file:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, and arguments of our own
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    with console.status("starting the mesh"):
        mesh = _wait_for(settings.home, child)
    if mesh is None:
        if child.poll() is None:
            child.terminate()
        console.print(f"[red]the mesh did not start;[/] {out} says:\n{escape(out.read_text()[-2000:])}")
        return 1
    console.print(f"the mesh serves at [bold]{mesh.gateway}[/]; stop it with [bold]kill {mesh.pid}[/]")
    return 0


async def _serve(settings: LocalSettings, console: Console) -> None:
    """Run the mesh until a signal; one that comes during the start ends that as well."""
    living = asyncio.create_task(_live(settings, console))
    signalled = asyncio.create_task(stop_signal())
    await asyncio.wait([living, signalled], return_when=asyncio.FIRST_COMPLETED)
    if signalled.done():
        console.print("draining; once more ends it at once")
        living.cancel()
    signalled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await living
    console.print("stopped")


async def _live(settings: LocalSettings, console: Console) -> None:
    began = time.monotonic()
    with console.status("starting") as status:
        async with local_mesh(settings, lambda text: status.update(f"starting: {text}")) as mesh:
            status.stop()
            console.print(_table(mesh))
            took = time.monotonic() - began
            console.print(
                f"\nserving after {took:.1f} s; try [bold]vmesh generate 'a red apple'[/]; logs in {logs.path(settings.home)}"
            )
            await mesh.triton.until_failed()  # a mesh that can draw nothing any more ends, and says why


def _table(mesh: LocalMesh) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("server")
    table.add_column("address")
    for name, address in mesh.servers.items():
        table.add_row(name, f"[bold]{address}[/]" if address == mesh.address else address)
    table.add_row("triton", mesh.triton.grpc_address)
    return table


def _settings(home: Path | None, listen: str | None) -> LocalSettings:
    given: dict[str, Any] = {"home": home and home.expanduser(), "listen": listen}
    return LocalSettings(**{name: value for name, value in given.items() if value is not None})


def _runs_already(home: Path, console: Console) -> bool:
    mesh = running.read(home)
    if mesh is None or not asyncio.run(running.health(mesh.gateway)):
        return False
    console.print(f"a mesh already runs at [bold]{mesh.gateway}[/]; stop it with [bold]kill {mesh.pid}[/]")
    return True


def _wait_for(home: Path, child: "subprocess.Popen[bytes]") -> running.RunningMesh | None:
    until = time.monotonic() + DETACH_SECONDS
    while time.monotonic() < until and child.poll() is None:
        mesh = running.read(home)
        if mesh and mesh.pid == child.pid:
            return mesh
        time.sleep(POLL_SECONDS)
    return None
