"""fal's queue: requests put there once, and followed with fal's own library.

The library is not let near the paid call: its `submit` sends that again, up to ten times, when a connection breaks.
What is no success comes as `wire.AnsweredError`, which the library does not know and lets pass.
"""

import importlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import httpx
from pydantic import BaseModel

from router.backends.account import Account
from router.backends.exchange import JobId

if TYPE_CHECKING:
    from fal_client import AsyncRequestHandle

STOPPED = "client_cancelled"
"""How a request ends that was stopped: fal.ai/docs/documentation/model-apis/request-errors."""


class Phase(StrEnum):
    """How far a request is; an ENDED one has a result, which may be an error."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPED = "stopped"
    ENDED = "ended"


class _Taken(BaseModel):
    request_id: JobId


class _Stopping(BaseModel):
    status: Literal["OK", "CANCELLATION_REQUESTED"]


@dataclass(frozen=True)
class FalQueue:
    """The queue at a URL, spoken to over a client that sends the key along; `library` is the module `fal_client`."""

    url: str
    http: httpx.AsyncClient
    library: Any

    async def submit(self, model: str, arguments: bytes) -> str:
        """Put a request into the queue, a paid call, and return its id. Raises ValueError for rubbish."""
        headers = {"Content-Type": "application/json"}
        response = await self.http.post(f"{self.url}/{model}", content=arguments, headers=headers)
        return _Taken.model_validate_json(response.content).request_id

    async def phase(self, model: str, name: str) -> Phase:
        """Return how far a request is."""
        status = await self._handle(model, name).status()
        if isinstance(status, self.library.Completed):
            return Phase.STOPPED if status.error_type == STOPPED else Phase.ENDED
        return Phase.RUNNING if isinstance(status, self.library.InProgress) else Phase.WAITING

    async def result(self, model: str, name: str) -> object:
        """Return what an ended request brought, as JSON. Raises AnsweredError where it brought an error."""
        return await self._handle(model, name).get()

    async def stop(self, model: str, name: str) -> bool:
        """Ask for a request to be stopped; return whether it is already. The library's own `cancel` does not tell."""
        response = await self.http.put(self._handle(model, name).cancel_url)
        return _Stopping.model_validate_json(response.content).status == "OK"

    def _handle(self, model: str, name: str) -> "AsyncRequestHandle":
        """Return the library's hold of a request, whose address has the owner and the app of the model alone."""
        owner, app, *_ = model.split("/")
        url = f"{self.url}/{owner}/{app}/requests/{name}"
        handle: AsyncRequestHandle = self.library.AsyncRequestHandle(
            request_id=name,
            response_url=url,
            status_url=f"{url}/status",
            cancel_url=f"{url}/cancel",
            client=self.http,
        )
        return handle


class FalAccount(Account[FalQueue]):
    """A key at fal."""

    provider = "pika"

    def _load(self, http: httpx.AsyncClient, url: str) -> FalQueue:
        http.headers["Authorization"] = f"Key {self._key.get_secret_value()}"
        return FalQueue(url, http, importlib.import_module("fal_client"))
