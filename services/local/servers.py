"""Every server of the mesh, started side by side as far as who calls whom allows.

Importing this module imports all of them, which takes a second or two: it is imported late, and off the event loop.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TextIO

from services.local import directory
from services.local.directory import TRITON, Entry
from services.local.hosting import Hosted
from services.local.settings import ANYWHERE, GATEWAY, LocalSettings
from services.local.triton import Triton
from services.runtime import telemetry
from services.runtime.server import ServerSpec

ENTRIES = directory.load()
TRITON_PID_FILE = (
    "triton_pid_file"  # the setting of who looks after Triton's process, which is on this machine here
)


async def start(
    stack: AsyncExitStack, settings: LocalSettings, triton: Triton, log: TextIO
) -> dict[str, str]:
    """Start every server, let `stack` end them in reverse, and return their addresses by name; `log` takes their logs.

    Raises what a server's own start raises, and TimeoutError when one takes longer than `server_seconds`.
    """
    telemetry.configure_logs(log)
    addresses: dict[str, str] = {}
    for layer in directory.layers(ENTRIES):
        known = {**addresses, TRITON: triton.grpc_address}
        hosts = [Hosted(_described(entry, settings, known, triton)) for entry in layer]
        async with asyncio.timeout(settings.server_seconds):
            await _enter_all(stack, hosts)
        addresses |= {host.name: host.address for host in hosts}
    return addresses


def _described(
    entry: Entry, settings: LocalSettings, addresses: Mapping[str, str], triton: Triton
) -> ServerSpec:
    listen = free_or_any(settings.listen) if entry.name == GATEWAY else ANYWHERE
    here = (
        {TRITON_PID_FILE: triton.settings.pid_file} if TRITON_PID_FILE in entry.settings.model_fields else {}
    )
    return entry.describe(settings.home, listen, addresses, {**here, **settings.servers.get(entry.name, {})})


async def _enter_all(stack: AsyncExitStack, hosts: list[Hosted]) -> None:
    """Start servers side by side; when one fails the others end, and its error is raised."""
    # Each is the stack's as soon as it runs: a start that is cut short leaves none behind.
    entering = (stack.enter_async_context(host) for host in hosts)
    for result in await asyncio.gather(*entering, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def free_or_any(listen: str) -> str:
    """Return an address to listen on: the one given, or any port of the same host when it is taken."""
    host, _, port = listen.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return listen
