"""What an answer of a provider's HTTP means for a paid call: was it refused, or does nobody know, and what callers are told.

One table for all providers, in our own words: theirs may hold a prompt or a key.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import NamedTuple

from router.backends.provider import LostError, NotStartedError
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

OPERATOR_RETRY_SECONDS = 60.0
"""Advised where a person has to act first."""


class Meaning(NamedTuple):
    """What is told of a refused call: `message` has the provider's name where it has `{provider}`."""

    reason: ErrorReason.ValueType
    message: str
    retry_after: float | None = None
    field: str = ""


BAD_REQUEST = Meaning(
    errors_pb2.ERROR_REASON_FIELD_INVALID,
    "spec: {provider} does not take this request; change it or choose another model",
    field="spec",
)
KEY = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} refuses its key; the operator has to look at the key of {provider}",
    OPERATOR_RETRY_SECONDS,
)
MONEY = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "the account at {provider} is used up; the operator has to look at its credit and limits",
    OPERATOR_RETRY_SECONDS,
)
GONE = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} does not know the model; the operator has to look at its id and address",
    OPERATOR_RETRY_SECONDS,
)
ELSEWHERE = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} sends elsewhere; the operator has to look at its address",
    OPERATOR_RETRY_SECONDS,
)
LIMITED = Meaning(
    errors_pb2.ERROR_REASON_OVERLOADED,
    "{provider} takes no more requests now; try again later",
    DEFAULT_RETRY_SECONDS,
)
LIBRARY = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} cannot be spoken to from here; the operator has to look at its address and its library",
    OPERATOR_RETRY_SECONDS,
)
UNREACHED = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} cannot be reached; try again shortly",
    DEFAULT_RETRY_SECONDS,
)
UNSAFE = Meaning(
    errors_pb2.ERROR_REASON_PROMPT_UNSAFE,
    "the content policy of {provider} refuses this prompt; change it",
)

# What is not here is a fault of the provider, 5xx above all: it may have come after the job was made and charged.
REFUSALS: dict[int, Meaning] = {
    HTTPStatus.BAD_REQUEST: BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED: KEY,
    HTTPStatus.PAYMENT_REQUIRED: MONEY,
    HTTPStatus.FORBIDDEN: KEY,
    HTTPStatus.NOT_FOUND: GONE,
    HTTPStatus.METHOD_NOT_ALLOWED: GONE,
    HTTPStatus.GONE: GONE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: BAD_REQUEST,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: BAD_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY: BAD_REQUEST,
    HTTPStatus.TOO_MANY_REQUESTS: LIMITED,
    HTTPStatus.MOVED_PERMANENTLY: ELSEWHERE,
    HTTPStatus.FOUND: ELSEWHERE,
    HTTPStatus.SEE_OTHER: ELSEWHERE,
    HTTPStatus.TEMPORARY_REDIRECT: ELSEWHERE,
    HTTPStatus.PERMANENT_REDIRECT: ELSEWHERE,
}
# The SDKs bring httpx or its successor httpx2; what they raise has the same names. These come before a byte is sent.
NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol"})


def told(meaning: Meaning, provider: str, retry_after: float | None = None) -> MeshError:
    """Return what a caller is told; `retry_after` is what the provider itself advised, in seconds."""
    wait = meaning.retry_after if retry_after is None else retry_after
    message = meaning.message.format(provider=provider)
    return MeshError(meaning.reason, message, field=meaning.field, retry_after=wait)


def answered(provider: str, status: int, retry_after: float | None = None) -> NotStartedError | LostError:
    """Return what an answer to a paid call means that is no success: refused, or nobody knows."""
    meaning = REFUSALS.get(status)
    if meaning is None:
        return LostError(f"{provider} answered {status} to a paid call")
    return NotStartedError(told(meaning, provider, retry_after))


def broken(provider: str, error: BaseException) -> NotStartedError | LostError:
    """Return what a paid call without an answer means: never sent, or broken off when nobody knows how far it came."""
    if any(type(one).__name__ in NEVER_SENT for one in _causes(error)):
        return NotStartedError(told(UNREACHED, provider))
    return LostError(f"the connection to {provider} broke during a paid call")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
