"""Midjourney through a bridge that the operator runs: there is no public API. docs/12-providers.md has the bridge's shape.

A paid call imagines a grid of four pictures; the first of them are then brought to full size one by one, which costs
nothing more and may be asked for again.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

import httpx
from pydantic import BaseModel, Field, ValidationError

from router.backends import http_errors
from router.backends.account import Account
from router.backends.exchange import CANCELLED, JOB_FAILED, JobId, asking, paying
from router.backends.http_errors import Meaning
from router.backends.offered import Offered
from router.backends.polling import Pace, confirmed, persistently, polled
from router.backends.protocol import Job, Step
from router.backends.provider import LostError, Media, Ticket
from router.backends.wording import SEEDS, check_prompt, data_uri, hundredths, ratio

NAME = "midjourney"
PACE = Pace(2.0)
GRID = 4
GRID_SHARE = 80
"""Hundredths of the progress that the grid counts for; the pictures at full size are the rest."""
MAX_URI = 16 * 1024 * 1024
"""Characters of a picture inside a request."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
UNSAFE = "content_policy"
MEANINGS = {UNSAFE: http_errors.UNSAFE, "out_of_credit": http_errors.MONEY}
PARAMETER = re.compile(r"[-—\s]*(?:--|—)[-—\s]*(?=[A-Za-z])")
"""Where Midjourney would read a parameter in a prompt, such as `--q 4`: what a caller may not choose past the router."""


class MidjourneyAccount(Account[httpx.AsyncClient]):
    """The operator's bridge. It is off without a URL; the key may be empty where the bridge asks for none."""

    provider = NAME

    @property
    def configured(self) -> bool:
        """Whether there is a bridge."""
        return bool(self._url)

    def _load(self, http: httpx.AsyncClient, url: str) -> httpx.AsyncClient:
        if key := self._key.get_secret_value():
            http.headers["Authorization"] = f"Bearer {key}"
        http.base_url = httpx.URL(f"{url}/")
        return http


class MidjourneyProvider(Offered[MidjourneyAccount]):
    """Midjourney behind the operator's bridge."""

    pace = PACE

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        """Imagine a grid; see `Provider.submit`."""
        check_prompt(self._entry, job.prompt)
        body: dict[str, object] = {
            "reference": reference,
            "prompt": self._prompt(job),
            "count": min(len(job.seeds), GRID),
        }
        if job.source:
            body["image"] = await asyncio.to_thread(data_uri, job.source, MAX_URI)
        return await self._pay("imagine", body, timeout)

    async def vary(self, ticket: Ticket, index: int, images: int, reference: str, timeout: float) -> Ticket:
        """Imagine a grid of variations of picture `index` (0 to 3) of another; a paid call of its own, as `submit`."""
        body: dict[str, object] = {"reference": reference, "index": index + 1, "count": images}
        return await self._pay(f"jobs/{ticket.job}/variation", body, timeout)

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Media, None]:
        """Look at the grid until it is done, have its pictures brought to full size, and fetch them."""
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        wanted, told = 0, None
        async with aclosing(polled(lambda: self._look(ticket.job), self._pace, timeout)) as looks:
            async for grid in looks:
                if grid.status in ENDED:
                    _check(grid)
                    wanted = grid.count
                    break
                if (
                    grid.status == "running"
                    and (step := hundredths(grid.progress * GRID_SHARE // 100)) != told
                ):
                    told = step
                    yield step
        names = [await self._upscale(ticket.job, index, until - clock()) for index in range(wanted)]
        urls: dict[int, str] = {}
        for index, name in enumerate(names):
            single = await self._ended(name, until - clock())
            if single.images:  # fewer than were asked for are better than none
                urls[index] = single.images[0]
            yield hundredths(GRID_SHARE + (100 - GRID_SHARE) * (index + 1) // wanted)
        async with aclosing(self._account.fetch(urls, self._entry.modality, until - clock())) as files:
            async for media in files:
                yield media

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        """Ask the bridge for the job with a reference; see `Provider.find`."""

        async def search() -> Ticket | None:
            http = await self._account.library(self._entry.address)
            with asking(NAME):
                response = await http.get("jobs", params={"reference": reference})
                found = _Jobs.model_validate_json(response.content).jobs
                if any(job.reference != reference for job in found):
                    raise ValueError  # it did not understand the question
                return Ticket(found[0].id) if found else None

        return await persistently(search, self._pace, timeout)

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        """Stop a job; see `Provider.cancel`."""

        async def stop() -> bool:
            http = await self._account.library(self._entry.address)
            with asking(NAME):
                await http.delete(f"jobs/{ticket.job}")
            return True

        return await confirmed(stop, timeout)

    async def _pay(self, path: str, body: dict[str, object], timeout: float) -> Ticket:
        self._account.admit()
        http = await self._account.library(self._entry.address)
        async with paying(NAME, timeout, _code):
            response = await http.post(path, json=body)
            try:
                return Ticket(_Named.model_validate_json(response.content).id)
            except ValidationError:
                raise LostError(f"{NAME} answered a paid call with rubbish") from None

    async def _look(self, name: str) -> "_Job":
        http = await self._account.library(self._entry.address)
        with asking(NAME):
            response = await http.get(f"jobs/{name}")
            return _Job.model_validate_json(response.content)

    async def _upscale(self, name: str, index: int, timeout: float) -> str:
        """Ask for picture `index` (from 0) of a grid at full size; return the job, the same one when asked again."""

        async def ask() -> str:
            http = await self._account.library(self._entry.address)
            with asking(NAME):
                response = await http.post(f"jobs/{name}/upscale", json={"index": index + 1})
                return _Named.model_validate_json(response.content).id

        return await persistently(ask, self._pace, timeout)

    async def _ended(self, name: str, timeout: float) -> "_Job":
        async with aclosing(polled(lambda: self._look(name), self._pace, timeout)) as looks:
            return await anext(job async for job in looks if job.status in ENDED)

    def _prompt(self, job: Job) -> str:
        """Return the prompt with the job in Midjourney's parameters; `request` of the entry adds its own."""
        parameters: dict[str, object] = {"ar": ratio(job.size)}
        if job.negative_prompt:
            parameters["no"] = _plain(job.negative_prompt)
        if self._entry.seeds:
            parameters["seed"] = job.seeds[0] % SEEDS
        if self._entry.qualities:
            parameters["q"] = self._entry.qualities[job.tier]
        told = [f"--{name} {value}" for name, value in (parameters | self._entry.request).items()]
        return " ".join([_plain(job.prompt), *told])


class _Named(BaseModel):
    id: JobId


class _Failure(BaseModel):
    code: str = ""


class _Job(BaseModel):
    """A job as the bridge tells of it; `progress` is in hundredths, `count` how many of a grid's pictures are wanted."""

    id: JobId
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    reference: str = ""
    progress: Annotated[int, Field(ge=0, le=100)] = 0
    count: Annotated[int, Field(ge=1, le=GRID)] = 1
    images: list[str] = []
    error: _Failure | None = None


class _Found(BaseModel):
    id: JobId
    reference: str


class _Jobs(BaseModel):
    jobs: list[_Found]


def _plain(text: str) -> str:
    return PARAMETER.sub(" ", text)


def _code(content: object) -> Meaning | None:
    """Return what the code means that the bridge sends with an error: `{"error": {"code": ...}}`."""
    error = content.get("error") if isinstance(content, dict) else None
    return MEANINGS.get(str(error.get("code"))) if isinstance(error, dict) else None


def _check(job: _Job) -> None:
    """Raise MeshError for a job that failed, LostError for one that ended well and brought nothing."""
    if job.status == "succeeded":
        if not job.images:
            raise LostError(f"{NAME} tells of no picture that a job made")
        return
    if job.status == "cancelled":
        raise http_errors.told(CANCELLED, NAME)
    unsafe = job.error is not None and job.error.code == UNSAFE
    raise http_errors.told(http_errors.UNSAFE if unsafe else JOB_FAILED, NAME)
