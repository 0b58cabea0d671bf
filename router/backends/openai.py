"""OpenAI's image models over its own library: pictures from words, and changed pictures.

A call is answered with the pictures, so there is no job to follow, and none that could be found by our reference.
"""

import asyncio
import base64
import binascii
import importlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError

from router.backends import http_errors
from router.backends.protocol import Capabilities, Job, Step
from router.backends.provider import CannotTellError, LostError, Media, NotStartedError, Ticket
from router.entries import BackendEntry
from router.media_types import media_type_of
from router.providers import standing
from router.rate_limit import RateLimit
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

NAME = "openai"
EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
SLACK_BYTES = 1024 * 1024
"""What an answer may have beside its pictures, and a picture beside its pixels."""

# Documented codes of errors: help.openai.com 5955604 for the account's, github.com/openai/codex issue 46737 and
# github.com/pollinations/pollinations issue 12067 for the content policy's.
UNSAFE_CODES = {"moderation_blocked", "content_policy_violation"}
MONEY_CODES = {
    "insufficient_quota",
    "billing_hard_limit_reached",
    "credit_balance_exhausted",
    "organization_usage_limit_exceeded",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
}
UNUSABLE = http_errors.Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "the library of {provider} cannot be used here; the operator has to look at the installation and the address",
    http_errors.OPERATOR_RETRY_SECONDS,
)
MEANINGS = dict.fromkeys(UNSAFE_CODES, http_errors.UNSAFE) | dict.fromkeys(MONEY_CODES, http_errors.MONEY)


class OpenAIAccount:
    """A key at OpenAI and the connections that are made with it; its models share one. Close it by leaving it."""

    def __init__(self, key: SecretStr, url: str = "") -> None:
        self._key = key
        self._url = url
        self._made: asyncio.Task[AsyncOpenAI] | None = None

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return bool(self._key.get_secret_value())

    async def client(self, address: str) -> "AsyncOpenAI":
        """Return the library's client, made at the first call: importing it takes a second and more.

        Raises NotStartedError when it cannot be made.
        """
        if self._made is None:
            self._made = asyncio.create_task(self._make(address))
        try:
            return await asyncio.shield(self._made)
        except Exception:
            self._made = None
            raise NotStartedError(http_errors.told(UNUSABLE, NAME)) from None

    async def _make(self, address: str) -> "AsyncOpenAI":
        openai: ModuleType = await asyncio.to_thread(importlib.import_module, "openai")
        client: AsyncOpenAI = await asyncio.to_thread(
            openai.AsyncOpenAI,
            api_key=self._key.get_secret_value(),
            base_url=self._url or address,
            max_retries=0,  # a paid call is sent once
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),  # and to nobody else
        )
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        made, self._made = self._made, None
        if made is not None:
            with suppress(Exception):  # one that could not be made needs no closing
                await (await made).close()


class OpenAIProvider:
    """One image model of OpenAI. What differs between models is data: `qualities` and `request` of its entry."""

    def __init__(
        self,
        entry: BackendEntry,
        account: OpenAIAccount,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._entry = entry
        self._account = account
        self._today = today
        self._tokens = entry.pricing().tokens
        self._limit = RateLimit()
        self.capabilities = Capabilities(
            entry.modality,
            entry.limits.steps,
            entry.limits.images,
            entry.sizes,
            steps=False,
            seeds=False,
            negative_prompts=False,
            edits=entry.edits,
        )

    def state(self) -> State:
        """Return whether it may be called; see `Provider.state`."""
        found = standing(self._entry, self._account.configured, self._today())
        return State.UNAVAILABLE if found is State.READY and self._limit.wait() else found

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        """Send the paid call and wait for its pictures; see `Provider.submit`."""
        self._check(job)
        try:
            async with asyncio.timeout(timeout):
                client = await self._account.client(self._entry.address)
                body = await self._sent(client, job, reference)
        except TimeoutError:
            raise LostError(f"{NAME} did not answer a paid call in time") from None
        except (NotStartedError, LostError):
            raise
        except Exception as error:
            raise self._meaning(error) from None
        return await asyncio.to_thread(self._ticket, body, job)

    async def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Media, None]:
        """Yield the pictures that came with the answer."""
        for media in ticket.media:
            yield media
        if not ticket.media:
            message = f"{NAME} does not keep what it made; ask again"
            raise MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, message)

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        """Raise CannotTellError: OpenAI answers no questions about earlier calls."""
        raise CannotTellError

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        """Return False: a call that was answered has ended."""
        return False

    def _check(self, job: Job) -> None:
        most = self._entry.limits.prompt
        if most is not None and len(job.prompt) > most:
            rule = f"spec.prompt: {self._entry.model} takes at most {most} characters; shorten it"
            error = MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="spec.prompt")
            raise NotStartedError(error)

    async def _sent(self, client: "AsyncOpenAI", job: Job, reference: str) -> bytes:
        images = client.images.with_streaming_response
        call: Callable[..., Any] = images.edit if job.source else images.generate
        most = self._most_bytes(job)
        body = bytearray()
        async with call(
            **self._parameters(job),
            extra_headers={"Idempotency-Key": reference},
            extra_body=self._entry.request,
        ) as response:
            self._limit.read(response.status_code, dict(response.headers))
            async for chunk in response.iter_bytes():
                body += chunk
                if len(body) > most:
                    raise LostError(f"{NAME} answered with more than {most} bytes")
        return bytes(body)

    def _parameters(self, job: Job) -> dict[str, object]:
        """Return the job in OpenAI's words, besides what the model's entry says of every call."""
        entry, source = self._entry, job.source
        parameters: dict[str, object] = {
            "model": (source and entry.edit_model) or entry.provider_model,
            "prompt": job.prompt,
            "n": len(job.seeds),
            "size": f"{job.size.width}x{job.size.height}",
        }
        if entry.qualities:
            parameters["quality"] = entry.qualities[job.tier]
        if source:
            parameters["image"] = (f"source.{EXTENSIONS[source.media_type]}", source.data, source.media_type)
        return parameters

    def _most_bytes(self, job: Job) -> int:
        """Return the most an answer may have: every picture as its bare pixels with alpha, in base64."""
        picture = job.size.width * job.size.height * 4 + SLACK_BYTES
        return len(job.seeds) * picture * 4 // 3 + SLACK_BYTES

    def _meaning(self, error: Exception) -> NotStartedError | LostError:
        """Return what an exception of the library means; its text, the provider's, goes nowhere."""
        status = getattr(error, "status_code", None)
        if not isinstance(status, int):
            return http_errors.broken(NAME, error)
        wait = self._limit.read(status, dict(getattr(error, "response").headers))  # noqa: B009
        codes = (getattr(error, "code", None), getattr(error, "type", None))
        meaning = next((MEANINGS[code] for code in codes if code in MEANINGS), None)
        if meaning and status in http_errors.REFUSALS:
            return NotStartedError(http_errors.told(meaning, NAME))
        return http_errors.answered(NAME, status, wait)

    def _ticket(self, body: bytes, job: Job) -> Ticket:
        """Read an answer. It was paid for: whatever is wrong with it, nobody may send the call again."""
        try:
            answer = _Answer.model_validate_json(body)
        except ValidationError:
            raise LostError(f"{NAME} answered a paid call with rubbish of {len(body)} bytes") from None
        media = tuple(_pictures(answer, len(job.seeds)))
        if not media:
            raise LostError(
                f"{NAME} answered a paid call with {len(answer.data)} files, none of them a picture"
            )
        return Ticket(job="", media=media, usd=self._usd(answer))

    def _usd(self, answer: "_Answer") -> float | None:
        if self._tokens is None:
            return None
        try:
            usage = _Usage.model_validate(answer.usage)
        except ValidationError:
            return None
        sent = usage.input_tokens_details
        return self._tokens.usd(sent.text_tokens, sent.image_tokens, usage.output_tokens)


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
        with suppress(binascii.Error, ValueError):
            data = base64.b64decode(picture.b64_json or "", validate=True)
            media_type = media_type_of(data)
            if media_type in EXTENSIONS:
                yield Media(index, data, media_type)
