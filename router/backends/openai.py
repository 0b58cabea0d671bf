"""OpenAI's image models over its own library: pictures from words, and changed pictures.

A call is answered with the pictures, so there is no job to follow, and none that could be found by our reference.
"""

import asyncio
import base64
import importlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import httpx
from pydantic import BaseModel, Field, ValidationError

from router.backends import http_errors
from router.backends.account import Account
from router.backends.exchange import paying
from router.backends.offered import Offered
from router.backends.protocol import Job, Step
from router.backends.provider import CannotTellError, LostError, Media, Ticket
from router.backends.wording import check_prompt
from router.media_types import media_type_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NAME = "openai"
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
MAX_ANSWER_BYTES = 128 * 1024 * 1024
"""Ten bare pictures of 1536 × 1024 with alpha, in base64, are 84 MB."""

MAX_COMMAS = 10_000
"""An answer with ten pictures has some dozens, and base64 has none. Many small things take long to parse, and whatever
else runs waits meanwhile, threads or not: 72 MB of them 14 s."""

# Documented codes of errors: help.openai.com 5955604 for the account's, github.com/openai/codex issue 46737 and
# github.com/pollinations/pollinations issue 12067 for the content policy's.
MEANINGS = dict.fromkeys(
    ("moderation_blocked", "content_policy_violation"), http_errors.UNSAFE
) | dict.fromkeys(
    (
        "insufficient_quota",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_usage_limit_exceeded",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
    ),
    http_errors.MONEY,
)


class OpenAIAccount(Account["AsyncOpenAI"]):
    """A key at OpenAI."""

    provider = NAME
    max_answer_bytes = MAX_ANSWER_BYTES

    def _load(self, http: httpx.AsyncClient, url: str) -> "AsyncOpenAI":
        openai = importlib.import_module("openai")
        client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=url,
            max_retries=0,  # a paid call is sent once
            http_client=http,
        )
        return client


class OpenAIProvider(Offered[OpenAIAccount]):
    """One image model of OpenAI. What differs between models is data: `qualities` and `request` of its entry."""

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        """Send the paid call and wait for its pictures; see `Provider.submit`."""
        self._account.admit()
        check_prompt(self._entry, job.prompt)
        openai = await self._account.library(self._entry.address)
        images = openai.images.with_raw_response
        call: Callable[..., Any] = images.edit if job.source else images.generate
        async with paying(NAME, timeout, _meaning):
            response = await call(
                **self._words(job),
                extra_headers={"Idempotency-Key": reference},
                extra_body=dict(self._entry.request),
            )
        return await asyncio.to_thread(self._ticket, response.http_response.content, len(job.seeds))

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Media, None]:
        """Yield the pictures that came with the answer."""
        for media in ticket.media:
            yield media
        if not ticket.media:
            raise LostError(f"{NAME} does not keep what it made")

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        """Raise CannotTellError: OpenAI answers no questions about earlier calls."""
        raise CannotTellError

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        """Return False: a call that was answered has ended."""
        return False

    def _words(self, job: Job) -> dict[str, object]:
        """Return the parameters of a call, as the library names them."""
        entry, source = self._entry, job.source
        words: dict[str, object] = {
            "model": (source and entry.edit_model) or entry.provider_model,
            "prompt": job.prompt,
            "n": len(job.seeds),
            "size": f"{job.size.width}x{job.size.height}",
        }
        if entry.qualities:
            words["quality"] = entry.qualities[job.tier]
        if source:
            words["image"] = (f"source.{EXTENSIONS[source.media_type]}", source.data, source.media_type)
        return words

    def _ticket(self, body: bytes, wanted: int) -> Ticket:
        """Read an answer. It was paid for: whatever is wrong with it, nobody may send the call again."""
        try:
            if body.count(b",") > MAX_COMMAS:
                raise ValueError
            answer = _Answer.model_validate_json(body)
        except ValueError:
            raise LostError(f"{NAME} answered a paid call with rubbish of {len(body)} bytes") from None
        media = tuple(_pictures(answer, wanted))
        if not media:
            raise LostError(
                f"{NAME} answered a paid call with {len(answer.data)} files, none of them a picture"
            )
        return Ticket(job="", media=media, usd=self._usd(answer))

    def _usd(self, answer: "_Answer") -> float | None:
        tokens = self._entry.pricing().tokens
        if tokens is None:
            return None
        try:
            usage = _Usage.model_validate(answer.usage)
        except ValidationError:
            return None
        sent = usage.input_tokens_details
        return tokens.usd(sent.text_tokens, sent.image_tokens, usage.output_tokens)


class _Picture(BaseModel):
    b64_json: str | None = None


class _Answer(BaseModel):
    data: list[_Picture]
    usage: object = None


class _Sent(BaseModel):
    text_tokens: Annotated[int, Field(ge=0)]
    image_tokens: Annotated[int, Field(ge=0)]


class _Usage(BaseModel):
    input_tokens_details: _Sent
    output_tokens: Annotated[int, Field(ge=0)]


def _pictures(answer: _Answer, wanted: int) -> Iterator[Media]:
    for index, picture in enumerate(answer.data[:wanted]):
        with suppress(ValueError):
            data = base64.b64decode(picture.b64_json or "", validate=True)
            media_type = media_type_of(data)
            if media_type in EXTENSIONS:
                yield Media(index, data, media_type)


def _meaning(content: object) -> http_errors.Meaning | None:
    """Return what the code or the type of an error means, where it is a documented one."""
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict):
        return None
    codes = (str(error.get("code")), str(error.get("type")))
    return next((MEANINGS[code] for code in codes if code in MEANINGS), None)
