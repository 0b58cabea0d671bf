"""Asking a Triton on this machine, over HTTP, whether it is ours and ready."""

import asyncio
import json

from services.local.triton.launch import LOOPBACK


async def get(port: int, path: str, timeout_s: float) -> tuple[int, bytes]:
    """GET a path: (status, body). Raises OSError, TimeoutError or ValueError when there is no proper answer."""
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split(maxsplit=2)[1]), body
        except IndexError as error:
            raise ValueError("not an HTTP answer") from error
        finally:
            writer.close()


async def is_ready(port: int, server_id: str, timeout_s: float) -> bool:
    """Tell whether the server on this port has this id (a stranger may have taken the port) and is ready."""
    try:
        status, body = await get(port, "/v2", timeout_s)
        if status != 200 or json.loads(body)["name"] != server_id:
            return False
        return (await get(port, "/v2/health/ready", timeout_s))[0] == 200
    except (OSError, TimeoutError, ValueError, KeyError):
        return False


async def is_live(port: int, timeout_s: float) -> bool:
    """Tell whether the server on this port answers at all."""
    try:
        return (await get(port, "/v2/health/live", timeout_s))[0] == 200
    except (OSError, TimeoutError, ValueError):
        return False
