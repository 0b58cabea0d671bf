"""HTTP as providers are spoken to: answers of bounded size, no redirects, the account's rate limit read from every one.

What is no success leaves the transport as an exception that no library knows, so none of them sends a call again by
itself: fal's repeats a paid one up to ten times.
"""

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import cache

import httpx

from router.rate_limit import RateLimit

MAX_BYTES = 4 * 1024 * 1024
"""Most that is read of an answer: it tells of a job, what was made is fetched from elsewhere."""
MAX_ERROR_BYTES = 64 * 1024
"""Most that is read of an error: all that is looked for is its code. Parsing 22 MB held the event loop up for 0.6 s."""
LIMITS = httpx.Timeout(60.0, connect=10.0)
"""Seconds that one read or write may take, where the call's own timeout is not sooner."""


@cache
def trust() -> ssl.SSLContext:
    """Return who is trusted to say who a server is; reading the certificates takes 20 ms, so once for all clients."""
    return httpx.create_ssl_context()


class AnsweredError(Exception):
    """The provider answered with something else than success.

    `wait` is in seconds and as it advised, None where it did not; `content` is what it sent as JSON, None where it was not.
    """

    def __init__(self, status: int, wait: float | None, content: object) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.wait = wait
        self.content = content


class BrokenError(Exception):
    """The connection broke or never came to be; the cause says which."""


class TooMuchError(Exception):
    """The provider answered with more than is read, or packed it."""


class Wire(httpx.AsyncBaseTransport):
    """Sends requests one by one, each once, and reads at most `most` bytes of an answer.

    Raises AnsweredError, BrokenError and TooMuchError.
    """

    def __init__(self, limit: RateLimit, most: int = MAX_BYTES) -> None:
        self._limit = limit
        self._most = most
        # A client inside, as only a client follows the proxy settings of the environment.
        self._inner = httpx.AsyncClient(follow_redirects=False, timeout=LIMITS, verify=trust())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see httpx."""
        request.headers["Accept-Encoding"] = "identity"
        try:
            response = await self._inner.send(request, stream=True)
        except httpx.TransportError as error:
            raise BrokenError from error
        wait = self._limit.read(response.status_code, dict(response.headers))
        if response.is_success:
            body = _Body(response, self._most)
            return httpx.Response(response.status_code, headers=response.headers, stream=body)
        body, content = _Body(response, MAX_ERROR_BYTES), None
        with suppress(BrokenError, TooMuchError, ValueError, RecursionError):
            content = json.loads(b"".join([part async for part in body]))
        await body.aclose()
        raise AnsweredError(response.status_code, wait, content)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Body(httpx.AsyncByteStream):
    """What is read of an answer, up to `most` bytes."""

    def __init__(self, response: httpx.Response, most: int) -> None:
        self._response = response
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._response.headers.get("content-encoding", "identity") != "identity":
            raise TooMuchError  # as much as it likes
        read = 0
        try:
            async for part in self._response.aiter_raw():
                read += len(part)
                if read > self._most:
                    raise TooMuchError
                yield part
        except httpx.TransportError as error:
            raise BrokenError from error

    async def aclose(self) -> None:
        await self._response.aclose()


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came from: libraries wrap what the transport raises."""
    while error is not None:
        yield error
        error = error.__cause__
