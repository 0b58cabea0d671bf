"""A key at a provider, and the connections that are made with it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, date, datetime
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar

import httpx
import structlog
from pydantic import SecretStr

from router.backends import http_errors
from router.backends.protocol import Capabilities
from router.backends.provider import LostError, Media, NotStartedError
from router.backends.wire import LIMITS, MAX_BYTES, Wire, trust
from router.configuration import ConfigurationError
from router.demand import Modality
from router.downloads import download
from router.entries import BackendEntry
from router.providers import is_address, standing, variable
from router.rate_limit import RateLimit
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime import images
from services.runtime.errors import MeshError

MAX_VIDEO_BYTES = 256 * 1024 * 1024
"""Ten seconds at 200 megabits a second."""

log = structlog.get_logger()

Library = TypeVar("Library")


class Account(ABC, Generic[Library]):
    """What all models of one provider share; close it by leaving it.

    `url` is another address of the API than those that the models' entries name; ConfigurationError when it is none. The
    library and the connections are made at the first call to an address and off the event loop: importing one takes up to
    0.6 s (two busy cores). `provider` is what its settings begin with, `max_answer_bytes` the most that is read of an answer.
    """

    provider: ClassVar[str]
    max_answer_bytes: ClassVar[int] = MAX_BYTES

    def __init__(self, key: SecretStr, url: str = "") -> None:
        if url and not is_address(url):
            raise ConfigurationError(f"{variable(f'{self.provider}_url')}: must be an http or https address")
        self._key = key
        self._url = url.rstrip("/")
        self._libraries: dict[str, asyncio.Task[Library]] = {}
        self._clients: list[httpx.AsyncClient] = []
        self._files: httpx.AsyncClient | None = None
        self.limit = RateLimit()

    @property
    def configured(self) -> bool:
        """Whether there is a key."""
        return bool(self._key.get_secret_value())

    def state(self, entry: BackendEntry, today: date) -> State:
        """Return whether one of its models may be called; see `Provider.state`."""
        found = standing(entry, self.configured, today)
        return State.UNAVAILABLE if found is State.READY and self.limit.wait() else found

    def url(self, address: str) -> str:
        """Return where the API is: at the account's own URL, or at `address` where it has none."""
        return self._url or address.rstrip("/")

    def admit(self) -> None:
        """Raise NotStartedError while the rate limit says to wait: what stood in a queue meanwhile is not sent into it."""
        if wait := self.limit.wait():
            raise NotStartedError(http_errors.told(http_errors.LIMITED, self.provider, wait))

    async def library(self, address: str) -> Library:
        """Return what the API at an address is spoken to with, made at the first call.

        Raises NotStartedError where it cannot be made: nothing was sent then.
        """
        url = self.url(address)
        if url not in self._libraries:
            self._libraries[url] = asyncio.create_task(asyncio.to_thread(self._open, url))
        try:
            return await asyncio.shield(self._libraries[url])
        except Exception as error:
            log.error("a provider's library is of no use", provider=self.provider, error=type(error).__name__)
            raise NotStartedError(http_errors.told(http_errors.LIBRARY, self.provider)) from None

    async def fetch(
        self, urls: Mapping[int, str], modality: Modality, timeout: float
    ) -> AsyncGenerator[Media, None]:
        """Yield the files that the provider made, by their index, within `timeout` seconds; the key does not go along.

        Those that are no media of the modality are left out. Raises LostError when none is left: they were paid for.
        Raises MeshError, MODEL_UNAVAILABLE and DEADLINE_EXCEEDED, as `downloads.download` does.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        most = MAX_VIDEO_BYTES if modality is Modality.VIDEO else images.MAX_BYTES
        trusted = await asyncio.to_thread(trust)
        # Past the proxy of the environment: it would be asked for an address, which no certificate names.
        self._files = self._files or httpx.AsyncClient(timeout=LIMITS, verify=trusted, trust_env=False)
        came = False
        for index, url in urls.items():
            try:
                data, media_type = await download(self._files, url, most, until - clock(), api=self._url)
            except MeshError as error:
                if error.reason != errors_pb2.ERROR_REASON_MODEL_FAILED:
                    raise
                continue
            if media_type.startswith("video/") is (modality is Modality.VIDEO):
                came = True
                yield Media(index, data, media_type)
        if not came:
            raise LostError(f"{self.provider} made nothing that is {modality}")

    @abstractmethod
    def _load(self, http: httpx.AsyncClient, url: str) -> Library:
        """Make what the provider is spoken to with, over the given client; called once for an address, in a thread."""

    def _open(self, url: str) -> Library:
        http = httpx.AsyncClient(transport=Wire(self.limit, self.max_answer_bytes), timeout=LIMITS)
        self._clients.append(http)
        return self._load(http, url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._libraries:
            await asyncio.wait(self._libraries.values())
        for client in (*self._clients, *filter(None, [self._files])):
            await client.aclose()


def capabilities(entry: BackendEntry) -> Capabilities:
    """Return what a provider's model can do, as its entry says; none takes steps."""
    return Capabilities(
        entry.modality,
        entry.limits.steps,
        entry.limits.images,
        entry.sizes,
        steps=False,
        seeds=entry.seeds,
        negative_prompts=entry.negative_prompts,
        edits=entry.edits,
        durations=entry.durations,
    )


def utc_today() -> date:
    """Return the day by which models retire."""
    return datetime.now(UTC).date()
