"""What an exchange with a provider came to: for a paid call whether it made a job, for a question whether to ask again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Annotated, TypeVar

from pydantic import StringConstraints

from router.backends import http_errors
from router.backends.http_errors import Meaning
from router.backends.polling import AgainError
from router.backends.provider import LostError, NotStartedError
from router.backends.wire import AnsweredError, BrokenError, causes
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

Kind = TypeVar("Kind", bound=Exception)

JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""A job's id as a provider gives it; it becomes part of an address, so no other is taken."""

# It was paid for perhaps: under another key, or longer ago than the provider keeps things.
NO_JOB = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} does not know the job any more",
    DEFAULT_RETRY_SECONDS,
)
JOB_FAILED = Meaning(
    errors_pb2.ERROR_REASON_MODEL_FAILED,
    "{provider} failed; try again or another model",
    DEFAULT_RETRY_SECONDS,
)
CANCELLED = Meaning(
    errors_pb2.ERROR_REASON_MODEL_FAILED,
    "the job was cancelled at {provider}; try again",
    DEFAULT_RETRY_SECONDS,
)
# Says nothing of the job: what answered may have been a proxy in between.
RUBBISH = Meaning(
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    "{provider} does not make itself understood; try again shortly",
    DEFAULT_RETRY_SECONDS,
)
NOT_THERE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def no_code(content: object) -> Meaning | None:
    """Return None: the provider documents no codes in what it sends with an error."""
    return None


@asynccontextmanager
async def paying(
    provider: str, timeout: float, read: Callable[[object], Meaning | None] = no_code
) -> AsyncIterator[None]:
    """Send a paid call in the body, once. `read` knows the codes in what the provider sends with an error.

    Raises NotStartedError when it certainly made no job, LostError when nobody knows, and nothing else.
    """
    try:
        async with asyncio.timeout(timeout):
            yield
    except (NotStartedError, LostError):
        raise
    except TimeoutError:
        raise LostError(f"{provider} did not answer a paid call in time") from None
    except Exception as error:
        answer = _cause(error, AnsweredError)
        if answer is None:
            raise http_errors.broken(provider, error) from None
        meaning = read(answer.content)
        if meaning is not None and answer.status in http_errors.REFUSALS:
            raise NotStartedError(http_errors.told(meaning, provider, answer.wait)) from None
        raise http_errors.answered(provider, answer.status, answer.wait) from None


@contextmanager
def asking(provider: str) -> Iterator[None]:
    """Ask a question in the body that is safe to repeat. Raises AgainError where that may help, else MeshError."""
    try:
        yield
    except (AgainError, MeshError, TimeoutError):
        raise
    except Exception as error:
        if answer := _cause(error, AnsweredError):
            raise _refused(provider, answer) from None
        meaning = http_errors.UNREACHED if _cause(error, BrokenError) else RUBBISH
        raise AgainError(http_errors.told(meaning, provider)) from None


def _refused(provider: str, answer: AnsweredError) -> AgainError | MeshError:
    if (
        answer.status in NOT_THERE
    ):  # a provider of several machines may need a moment to know of a job everywhere
        return AgainError(http_errors.told(NO_JOB, provider), few=True)
    meaning = http_errors.REFUSALS.get(answer.status, http_errors.UNREACHED)
    if meaning is http_errors.BAD_REQUEST:  # nothing that the caller could change: the question is ours
        meaning = RUBBISH
    error = http_errors.told(meaning, provider, answer.wait)
    passes = answer.status in PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return AgainError(error, answer.wait or 0.0) if passes else error


def _cause(error: BaseException, kind: type[Kind]) -> Kind | None:
    return next((one for one in causes(error) if isinstance(one, kind)), None)
