"""What the router asks of an adapter for a paid provider. `paid.PaidBackend` makes a backend of one and keeps the ledger.

A paid call is made once: `submit` sends it, `follow` waits for it by its id, `find` asks whether it arrived.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from router.backends.protocol import Capabilities, Job, Step
from router.snapshot import State
from services.runtime.errors import MeshError


@dataclass(frozen=True, slots=True)
class Media:
    """A finished picture or video: a file's bytes whose type was read from the bytes themselves, not from a header."""

    index: int
    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """A job that the provider has taken: its id there, empty where the provider gives none.

    A provider that answers at once puts what it made into `media`. `usd` is what the provider says that it cost, None
    where it says nothing.
    """

    job: str
    media: tuple[Media, ...] = ()
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job cost that has ended, well or not, in US dollars, as the provider says."""

    usd: float


class NotStartedError(Exception):
    """A paid call that certainly made no job: refused, or never sent. `error` is what the caller is told."""

    def __init__(self, error: MeshError) -> None:
        super().__init__(error.message)
        self.error = error


class LostError(Exception):
    """A paid call of which nobody knows what it made: the connection broke, or what came is rubbish."""


class CannotTellError(Exception):
    """The provider cannot be asked for a job by our reference."""


class Provider(Protocol):
    """One model of a paid provider, over its own SDK or documented HTTP. No method retries a paid call by itself.

    Error texts never hold a key, a prompt or the provider's words.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; never changes."""

    def state(self) -> State:
        """Return READY, NOT_CONFIGURED, RETIRED, or UNAVAILABLE while the provider's rate limit says to wait.

        Costs nothing and asks nobody: it is called twice a second.
        """

    async def submit(self, job: Job, reference: str, timeout: float) -> Ticket:
        """Send the paid call, once, with `reference` (at most 64 of A-Z a-z 0-9 -) where the provider takes one.

        Raises NotStartedError when it certainly made no job, LostError when nobody knows.
        """

    def follow(self, ticket: Ticket, timeout: float) -> AsyncGenerator[Step | Cost | Media, None]:
        """Wait for a job: its progress (`Step` in hundredths) and, at its end, its media, downloaded and sniffed.

        What the job cost is told before that where the provider says it then, also before an error.

        Reading is safe to repeat, so it asks again after failures of the connection. Raises MeshError: MODEL_FAILED when
        the provider says that it failed or stopped the job, PROMPT_UNSAFE when its content policy refused it,
        MODEL_UNAVAILABLE when the provider cannot be reached or asked for the job any more (it may have ended well there),
        DEADLINE_EXCEEDED. Raises LostError for a job that ended well, and so was paid for, and brought nothing usable.
        """

    async def find(self, reference: str, timeout: float) -> Ticket | None:
        """Return the job that was sent with a reference; None when the provider has certainly none.

        Raises CannotTellError where the provider has no such question, MeshError when it cannot be reached.
        """

    async def cancel(self, ticket: Ticket, timeout: float) -> bool:
        """Stop a job; return whether the provider confirmed it. Never raises for a job that has ended."""
