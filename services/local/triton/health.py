"""Talking to a Triton on this machine over HTTP: is it ours and ready, is it alive, load this model again."""

import asyncio
import json
import re

from services.local.triton.launch import LOOPBACK

ANSWERS = (OSError, TimeoutError, ValueError, KeyError)  # what `exchange` and reading its answer can raise


async def exchange(port: int, method: str, path: str, timeout: float) -> tuple[int, bytes]:
    """One HTTP exchange without a request body: (status, body).

    Raises OSError, TimeoutError or ValueError when there is no proper answer within `timeout` seconds.
    """
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            # The server does not close after slow answers, so the body's length has to be believed.
            length = re.search(r"^content-length: *(\d+)", answer, re.MULTILINE)
            body = await reader.readexactly(int(length[1])) if length else b""
            return int(answer.split(maxsplit=2)[1]), body
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError) as error:
            raise ValueError("not an HTTP answer") from error
        finally:
            writer.close()


async def is_ready(port: int, server_id: str, timeout: float) -> bool:
    """Tell whether the server on this port has this id (a stranger may have taken the port) and is ready."""
    try:
        status, body = await exchange(port, "GET", "/v2", timeout)
        if status != 200 or json.loads(body)["name"] != server_id:
            return False
        return (await exchange(port, "GET", "/v2/health/ready", timeout))[0] == 200
    except ANSWERS:
        return False


async def is_live(port: int, timeout: float) -> bool:
    """Tell whether the server on this port answers at all."""
    try:
        return (await exchange(port, "GET", "/v2/health/live", timeout))[0] == 200
    except ANSWERS:
        return False


async def loaded_models(port: int, timeout: float) -> set[str]:
    """Names of the models that the server believes to be loaded; empty when it does not answer."""
    try:
        _, body = await exchange(port, "POST", "/v2/repository/index", timeout)
        return {model["name"] for model in json.loads(body) if model.get("state") == "READY"}
    except ANSWERS:
        return set()


async def load_model_anew(port: int, model: str, timeout: float) -> bool:
    """Load a model with fresh workers; tell whether that worked.

    It is unloaded first: to load what is loaded, and was unloaded and loaded at any time before, Triton 2.51 says yes
    and does nothing.
    """
    try:
        await exchange(port, "POST", f"/v2/repository/models/{model}/unload", timeout)
        return (await exchange(port, "POST", f"/v2/repository/models/{model}/load", timeout))[0] == 200
    except ANSWERS:
        return False
