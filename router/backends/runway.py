"""Runway's models over its own library: videos and pictures, from words or from a picture, each a task.

A task cannot be found by our reference: Runway takes none and lists no tasks.
"""

import asyncio
import importlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

import httpx
from pydantic import BaseModel, Field, ValidationError

from router.backends import http_errors
from router.backends.account import Account
from router.backends.exchange import CANCELLED, JOB_FAILED, JobId, asking, paying
from router.backends.offered import Offered
from router.backends.polling import Pace, confirmed, polled
from router.backends.protocol import Job, Step
from router.backends.provider import CannotTellError, Cost, LostError, Media, Ticket
from router.backends.wording import SEEDS, check_prompt, data_uri, hundredths
from router.demand import Modality

if TYPE_CHECKING:
    from runwayml import AsyncRunwayML

NAME = "runway"
PACE = Pace(5.0)
"""Runway's documentation asks not to look at a task more often."""
MAX_URI = 5 * 1024 * 1024
"""Characters of a picture inside a request: docs.dev.runwayml.com/assets/inputs."""
USD_PER_CREDIT = 0.01
"""docs.dev.runwayml.com/guides/pricing."""
UNSAFE = "SAFETY"
"""Part of the codes with which content moderation fails a task: docs.dev.runwayml.com/errors/task-failures."""


class RunwayAccount(Account["AsyncRunwayML"]):
    """A key at Runway."""

    provider = NAME

    def _load(self, http: httpx.AsyncClient, url: str) -> "AsyncRunwayML":
        runwayml = importlib.import_module("runwayml")
        client: AsyncRunwayML = runwayml.AsyncRunwayML(
            api_key=self._key.get_secret_value(),
            base_url=url,
            max_retries=0,  # a paid call is sent once
            http_client=http,
        )
        return client


class RunwayProvider(Offered[RunwayAccount]):
    """One model of Runway. A task makes one picture or video."""

    pace = PACE

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        """Create a task; see `Provider.submit`. The library takes no reference."""
        self._account.admit()
        check_prompt(self._entry, job.prompt)
        runway = await self._account.library(self._entry.address)
        words = await asyncio.to_thread(self._words, job)
        async with paying(NAME, timeout):
            response = await self._creator(runway, job)(**words)
            return _ticket(response.http_response.content)

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Cost | Media, None]:
        """Look at the task until it ends, and fetch what it made; see `Provider.follow`."""
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        told: Step | None = None
        urls: list[str] = []
        async with aclosing(polled(lambda: self._task(ticket.job), self._pace, timeout)) as tasks:
            async for task in tasks:
                step = hundredths(round(100 * task.progress))
                if task.status == "RUNNING" and step != told:
                    told = step
                    yield step
                elif task.status in ENDED:
                    if (usd := _usd(task.cost)) is not None:
                        yield Cost(usd)
                    urls = _output(task)
                    break
        async with aclosing(
            self._account.fetch(dict(enumerate(urls)), self._entry.modality, until - clock())
        ) as files:
            async for media in files:
                yield media

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        """Raise CannotTellError: Runway lists no tasks."""
        raise CannotTellError

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        """Stop a task; see `Provider.cancel`. One that has ended is left alone: to Runway, stopping it is deleting it."""

        async def stop() -> bool:
            if (status := (await self._task(ticket.job)).status) in ENDED:
                return status == "CANCELLED"
            runway = await self._account.library(self._entry.address)
            with asking(NAME):
                await runway.tasks.delete(ticket.job)
            return True

        return await confirmed(stop, timeout)

    async def _task(self, name: str) -> "_Task":
        runway = await self._account.library(self._entry.address)
        with asking(NAME):
            response = await runway.tasks.with_raw_response.retrieve(name)
            return _Task.model_validate_json(response.http_response.content)

    def _creator(self, runway: "AsyncRunwayML", job: Job) -> Callable[..., Any]:
        if self._entry.modality is not Modality.VIDEO:
            return runway.text_to_image.with_raw_response.create
        if job.source:
            return runway.image_to_video.with_raw_response.create
        return runway.text_to_video.with_raw_response.create

    def _words(self, job: Job) -> dict[str, object]:
        """Return the parameters of a task, as the library calls them; `request` of the entry goes along as it is."""
        video = self._entry.modality is Modality.VIDEO
        model = (
            self._entry.edit_model if job.source and self._entry.edit_model else self._entry.provider_model
        )
        words: dict[str, object] = {
            "model": model,
            "prompt_text": job.prompt,
            "ratio": f"{job.size.width}:{job.size.height}",
            "extra_body": dict(self._entry.request),
        }
        if video:
            words["duration"] = round(job.duration)
        if self._entry.seeds:
            words["seed"] = job.seeds[0] % SEEDS
        if job.negative_prompt and self._entry.negative_prompts:
            words["negative_prompt"] = job.negative_prompt
        if job.source:
            uri = data_uri(job.source, MAX_URI)
            words |= {"prompt_image": uri} if video else {"reference_images": [{"uri": uri}]}
        return words


ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


class _Cost(BaseModel):
    credits: float


class _Created(BaseModel):
    id: JobId
    estimated_cost: _Cost | None = Field(default=None, alias="estimatedCost")


class _Task(BaseModel):
    """A task as it is told of; `progress` is in [0, 1]."""

    status: Literal["PENDING", "THROTTLED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    progress: float = Field(default=0.0, ge=0, le=1)
    output: list[str] = []
    failure_code: str | None = Field(default=None, alias="failureCode")
    cost: _Cost | None = None


def _ticket(body: bytes) -> Ticket:
    try:
        created = _Created.model_validate_json(body)
    except ValidationError:
        raise LostError(f"{NAME} answered a paid call with rubbish of {len(body)} bytes") from None
    return Ticket(created.id, usd=_usd(created.estimated_cost))


def _usd(cost: _Cost | None) -> float | None:
    return None if cost is None else cost.credits * USD_PER_CREDIT


def _output(task: _Task) -> list[str]:
    """Return where what an ended task made is. Raises MeshError when it failed, LostError when it is nowhere."""
    if task.status == "SUCCEEDED":
        if not task.output:
            raise LostError(f"{NAME} tells of no file that a task made")
        return task.output[:1]  # a task makes one
    if task.status == "CANCELLED":
        raise http_errors.told(CANCELLED, NAME)
    unsafe = UNSAFE in (task.failure_code or "").split(".")
    raise http_errors.told(http_errors.UNSAFE if unsafe else JOB_FAILED, NAME)
