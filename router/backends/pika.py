"""Pika's models, which fal serves: each video a request in fal's queue.

A request cannot be found by our reference: fal takes none.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pydantic import BaseModel, ValidationError

from router.backends import http_errors
from router.backends.exchange import CANCELLED, JOB_FAILED, asking, paying
from router.backends.fal_queue import STOPPED, FalAccount, Phase
from router.backends.http_errors import Meaning
from router.backends.offered import Offered
from router.backends.polling import AgainError, Pace, confirmed, persistently, polled
from router.backends.protocol import Job, Step
from router.backends.provider import CannotTellError, LostError, Media, Ticket
from router.backends.wire import AnsweredError
from router.backends.wording import SEEDS, check_prompt, data_uri, hundredths, ratio

NAME = "pika"
PACE = Pace(1.0)
MAX_URI = 16 * 1024 * 1024
"""Characters of a picture inside a request. fal names no limit, and asks for links where files are large."""
BEGUN = hundredths(1)
"""All that fal tells of a request at work is that it is."""
UNSAFE = "content_policy_violation"
"""Type of a model's error: fal.ai/docs/documentation/model-apis/errors."""


class PikaProvider(Offered[FalAccount]):
    """One model of Pika. A request makes one video."""

    pace = PACE

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        """Put a request into the queue; see `Provider.submit`. fal takes no reference."""
        self._account.admit()
        check_prompt(self._entry, job.prompt)
        queue = await self._account.library(self._entry.address)
        arguments = await asyncio.to_thread(self._arguments, job)
        model = (
            self._entry.edit_model if job.source and self._entry.edit_model else self._entry.provider_model
        )
        async with paying(NAME, timeout, _policy):
            try:
                return Ticket(await queue.submit(model, arguments))
            except ValueError:
                raise LostError(f"{NAME} answered a paid call with rubbish") from None

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Media, None]:
        """Look at the request until it ends, and fetch what it made; see `Provider.follow`."""
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        begun = False
        async with aclosing(polled(lambda: self._phase(ticket.job), self._pace, timeout)) as phases:
            async for phase in phases:
                if phase is Phase.STOPPED:
                    raise http_errors.told(CANCELLED, NAME)
                if phase is Phase.ENDED:
                    break
                if phase is Phase.RUNNING and not begun:
                    begun = True
                    yield BEGUN
        url = await persistently(lambda: self._made(ticket.job), self._pace, until - clock())
        async with aclosing(self._account.fetch({0: url}, self._entry.modality, until - clock())) as files:
            async for media in files:
                yield media

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        """Raise CannotTellError: fal knows requests by its own ids alone."""
        raise CannotTellError

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        """Stop a request; see `Provider.cancel`. One at work is asked to stop, and looked at until it has."""

        async def stop() -> bool:
            phase = await self._phase(ticket.job)
            if phase in (Phase.STOPPED, Phase.ENDED):
                return phase is Phase.STOPPED
            queue = await self._account.library(self._entry.address)
            with asking(NAME):
                if await queue.stop(self._entry.provider_model, ticket.job):
                    return True
            raise AgainError(http_errors.told(JOB_FAILED, NAME))

        return await confirmed(stop, timeout)

    async def _phase(self, name: str) -> Phase:
        queue = await self._account.library(self._entry.address)
        with asking(NAME):
            return await queue.phase(self._entry.provider_model, name)

    async def _made(self, name: str) -> str:
        """Return where the video of an ended request is. Raises MeshError where it ended in an error, LostError where it is nowhere."""
        queue = await self._account.library(self._entry.address)
        with asking(NAME):
            try:
                content = await queue.result(self._entry.provider_model, name)
            except AnsweredError as answer:
                if (meaning := _ending(answer.content)) is None:
                    raise
                raise http_errors.told(meaning, NAME) from None
        try:
            return _Result.model_validate(content).video.url
        except ValidationError:
            raise LostError(f"{NAME} tells of no file that a request made") from None

    def _arguments(self, job: Job) -> bytes:
        """Return what a request is made of, as JSON; `request` of the entry goes along as it is."""
        arguments: dict[str, object] = {
            **self._entry.request,
            "prompt": job.prompt,
            "resolution": f"{min(job.size)}p",
            "duration": round(job.duration),
        }
        if self._entry.seeds:
            arguments["seed"] = job.seeds[0] % SEEDS
        if job.negative_prompt:
            arguments["negative_prompt"] = job.negative_prompt
        if job.source:
            arguments["image_url"] = data_uri(job.source, MAX_URI)
        else:
            arguments["aspect_ratio"] = ratio(job.size)
        return json.dumps(arguments).encode()


class _File(BaseModel):
    url: str


class _Result(BaseModel):
    video: _File


def _policy(content: object) -> Meaning | None:
    """Return what a model's error means that is the content policy's: its `detail` is a list of typed errors."""
    detail = content.get("detail") if isinstance(content, dict) else None
    kinds = [one.get("type") for one in detail if isinstance(one, dict)] if isinstance(detail, list) else []
    return http_errors.UNSAFE if UNSAFE in kinds else None


def _ending(content: object) -> Meaning | None:
    """Return how a request ended whose result is an error, None where the error is not the request's."""
    if not isinstance(content, dict):
        return None
    if content.get("error_type") == STOPPED:
        return CANCELLED
    ended = isinstance(content.get("detail"), list) or "error_type" in content
    return _policy(content) or (JOB_FAILED if ended else None)
