"""A provider over HTTP that remembers every job it was given, whatever becomes of who gave it; and its adapter."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from http import HTTPStatus
from io import BytesIO

import httpx
from PIL import Image

from router.backends.protocol import Capabilities, Job, Step
from router.backends.provider import CannotTellError, LostError, Media, NotStartedError, Ticket
from router.demand import Modality
from router.sizes import Size
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from tests.contract.providers.http_server import Answer, HttpServer, Request

ANSWER_SECONDS = 0.03  # between the receipt of a job and the answer to it
USD = 0.25


class Kind(StrEnum):
    """How a provider works, which decides what can be known after a crash."""

    LOOKUP = "queue, finds a job by our reference"
    QUEUE = "queue, without such a question"
    DIRECT = "answers with the picture"


@dataclass(eq=False)
class Order:
    """A job as the provider keeps it."""

    id: str
    reference: str
    prompt: str
    pictures: int
    asked: int = 0
    cancelled: bool = False


@dataclass(eq=False)
class Shop:
    """The provider of one kind. `polls` is how often a job is asked for before it is done."""

    kind: Kind
    polls: int = 1
    orders: list[Order] = field(default_factory=list)
    server: HttpServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = HttpServer(self._respond)

    def jobs(self, prompt: str) -> int:
        """How many jobs were taken for a prompt."""
        return sum(order.prompt == prompt for order in self.orders)

    def _respond(self, request: Request) -> Answer:
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["jobs"]:
                return self._take(request)
            case "GET", ["received", reference]:
                return Answer.of(any(order.reference == reference for order in self.orders))
            case "GET", ["references", reference]:
                found = [order.id for order in self.orders if order.reference == reference]
                return Answer.of({"job": found[0]}) if found else Answer.of({}, HTTPStatus.NOT_FOUND)
            case "GET", ["jobs", number]:
                order = self.orders[int(number)]
                order.asked += 1
                return Answer.of({"done": order.asked > self.polls, "pictures": order.pictures})
            case "GET", ["jobs", number, index]:
                return Answer(body=_picture(int(number), int(index)), media_type="image/png")
            case "DELETE", ["jobs", number]:
                order = self.orders[int(number)]
                order.cancelled = order.asked <= self.polls
                return Answer.of({"cancelled": order.cancelled})
        return Answer.of({}, HTTPStatus.NOT_FOUND)

    def _take(self, request: Request) -> Answer:
        asked = request.json
        order = Order(str(len(self.orders)), asked["reference"], asked["prompt"], asked["pictures"])
        self.orders.append(order)
        if self.kind is Kind.DIRECT:
            pictures = [
                base64.b64encode(_picture(int(order.id), index)).decode() for index in range(order.pictures)
            ]
            content: dict[str, object] = {"pictures": pictures, "usd": USD}
        else:
            content = {"job": order.id, "usd": USD}
        return Answer(body=json.dumps(content).encode(), delay=ANSWER_SECONDS)


@cache
def _picture(number: int, index: int) -> bytes:
    """A PNG of one colour, another one for each picture."""
    buffer = BytesIO()
    Image.new("RGB", (16, 16), (number % 256, number // 256, index)).save(buffer, "PNG")
    return buffer.getvalue()


class ShopProvider:
    """The adapter of one kind of shop."""

    capabilities = Capabilities(Modality.TEXT_TO_IMAGE, 1, 4, (Size(64, 64),), steps=False)

    def __init__(self, kind: Kind, client: httpx.AsyncClient) -> None:
        self._kind = kind
        self._client = client

    def state(self) -> State:
        return State.READY

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        asked = {"reference": reference, "prompt": job.prompt, "pictures": len(job.seeds)}
        try:
            answer = await self._client.post("/jobs", json=asked, timeout=timeout)
        except httpx.ConnectError:
            raise NotStartedError(away()) from None
        except httpx.TransportError:
            raise LostError from None
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise LostError
        if answer.status_code != HTTPStatus.OK:
            error = MeshError(errors_pb2.ERROR_REASON_OVERLOADED, "the shop is full", retry_after=1.0)
            raise NotStartedError(error)
        try:
            content = answer.json()
            pictures = content.get("pictures", ())
            media = [Media(index, base64.b64decode(each), "image/png") for index, each in enumerate(pictures)]
            return Ticket("" if media else content["job"], tuple(media), content["usd"])
        except (ValueError, KeyError, AttributeError):
            raise LostError from None

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Media]:
        polled = 0
        while not (content := await self._get(f"/jobs/{ticket.job}"))["done"]:
            polled += 1
            yield Step(min(polled, 99), 100)
            await asyncio.sleep(0.01)
        for index in range(content["pictures"]):
            answer = await self._client.get(f"/jobs/{ticket.job}/{index}")
            yield Media(index, answer.content, "image/png")

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        if self._kind is not Kind.LOOKUP:
            raise CannotTellError
        try:
            answer = await self._client.get(f"/references/{reference}", timeout=timeout)
        except httpx.TransportError:
            raise away() from None
        return Ticket(answer.json()["job"]) if answer.status_code == HTTPStatus.OK else None

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        answer = await self._client.delete(f"/jobs/{ticket.job}", timeout=timeout)
        return bool(answer.json()["cancelled"])

    async def _get(self, path: str) -> dict[str, int]:
        try:
            answer = await self._client.get(path)
        except httpx.TransportError:
            raise away() from None
        if answer.status_code != HTTPStatus.OK:
            raise away()
        content: dict[str, int] = answer.json()
        return content


def away() -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the shop cannot be reached", retry_after=1.0)
