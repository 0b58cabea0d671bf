"""Brings one paid call that is ours from wherever it stands to where it is known what became of it."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from router.backends.errand import Errand, LeftError
from router.backends.protocol import Job, Step, Stored
from router.backends.provider import (
    CannotTellError,
    Cost,
    LostError,
    Media,
    NotStartedError,
    Provider,
    Ticket,
)
from router.backends.storing import RubbishError, store
from router.ledger import Claim, Ledger
from router.paid_calls import Call, CallState
from scrollintel.visual.v1 import errors_pb2
from services.runtime.blobs import BlobStore
from services.runtime.errors import MeshError

SUBMIT_SECONDS = 180.0  # providers that answer with the picture take as long as drawing it does
FIND_SECONDS = 20.0
CANCEL_SECONDS = 10.0
MARGIN_SECONDS = 5.0  # an adapter keeps its time by itself; one that does not is ended this much later
MAX_JOB = 1024
SAVE_PAUSES = (0.2, 0.5, 1.0, 2.0)  # between attempts to store, or to write down, what was paid for

# How a job ends that certainly brought nothing. Any other error leaves open what becomes of it.
BROUGHT_NOTHING = frozenset(
    {
        errors_pb2.ERROR_REASON_MODEL_FAILED,
        errors_pb2.ERROR_REASON_PROMPT_UNSAFE,
        errors_pb2.ERROR_REASON_OUTPUT_UNSAFE,
    }
)

# Reasons in the ledger, besides those of errors.
LOST = "LOST"  # the answer to the call
NEVER_ARRIVED = "NEVER_ARRIVED"  # the provider has no such job
CANNOT_TELL = "CANNOT_TELL"  # the provider cannot be asked for a job by our reference
UNREACHABLE = "UNREACHABLE"  # the provider did not answer when it was asked
RUBBISH = "RUBBISH"  # what came is no picture and no video
NOT_STORED = "NOT_STORED"  # the media store stayed away

log = structlog.get_logger()

T = TypeVar("T")
Made = tuple[Stored, ...]


@dataclass(frozen=True, eq=False)
class Settler:
    """Carries out the calls of one provider; each method's call has to be held while it runs.

    Where a call ends without media that is known, both raise MeshError: what the job failed with, OUTCOME_UNKNOWN where
    nobody can tell. They raise LeftError when the caller left.
    """

    provider: Provider
    ledger: Ledger
    blobs: BlobStore

    async def buy(self, errand: Errand, claim: Claim, job: Job) -> Made:
        """Make the call that was opened, once, and bring it to its end."""
        try:
            errand.check()
        except LeftError as left:
            await self._fail(claim, left.error.name)
            raise
        try:
            async with asyncio.timeout(SUBMIT_SECONDS + MARGIN_SECONDS):
                ticket = await self.provider.submit(job, claim.call.reference, SUBMIT_SECONDS)
        except NotStartedError as refusal:
            await self._fail(claim, refusal.error.name)
            raise refusal.error from None
        except Exception as error:  # LostError, and what an adapter does that breaks its promise
            await self._doubt(claim, LOST, error)
            made = await self.look(errand, claim, sent_just_now=True)
            if made is None:
                raise unknown(claim.call) from None
            return made
        return await self._finish(errand, claim, ticket)

    async def look(self, errand: Errand, claim: Claim, *, sent_just_now: bool = False) -> Made | None:
        """Look a call up at the provider and bring it to its end; None when the provider has no such job.

        That settles the call, unless it was sent just now and may still be on its way: then its lease is left to run out.
        """
        call = claim.call
        if call.job:
            return await self._finish(errand, claim, Ticket(call.job))
        try:
            async with asyncio.timeout(FIND_SECONDS + MARGIN_SECONDS):
                ticket = await self.provider.find(call.reference, FIND_SECONDS)
        except CannotTellError:
            await self._leave(claim, CANNOT_TELL)
            raise unknown(call) from None
        except Exception as error:
            await self._doubt(claim, UNREACHABLE, error)
            raise unknown(call) from None
        if ticket is not None:
            return await self._finish(errand, claim, ticket)
        if not sent_just_now:
            await self._fail(claim, NEVER_ARRIVED)
        return None

    async def _finish(self, errand: Errand, claim: Claim, told: Ticket) -> Made:
        """Wait for a job that the provider has taken, and keep what it made."""
        call, ticket = claim.call, _usable(told)
        if not ticket.job and not ticket.media:
            await self._doubt(claim, RUBBISH, ValueError())
            raise unknown(call)
        brought = _Brought(list(ticket.media), ticket.usd)
        if ticket.job != call.job:
            await _surely(call, lambda: self.ledger.note_job(claim, ticket.job, ticket.usd))
        try:
            if not ticket.media:
                await self._follow(errand, ticket, brought)
        except LeftError as left:
            if not errand.patient and await self._stop(ticket):
                await self._fail(claim, left.error.name, brought.usd)
            else:
                await self._leave(claim, left.error.name)
            raise
        except Exception as error:
            reason = error.name if isinstance(error, MeshError) else LOST
            if isinstance(error, LostError):
                reason = RUBBISH
            if isinstance(error, MeshError) and error.reason in BROUGHT_NOTHING:
                await self._fail(claim, reason, brought.usd)
                raise
            await self._doubt(claim, reason, error, ticket.job)
            raise unknown(call) from None
        return await self._keep(claim, ticket, brought)

    async def _keep(self, claim: Claim, ticket: Ticket, brought: "_Brought") -> Made:
        call = claim.call
        try:
            made = await _surely(call, lambda: store(brought.media, call.seeds, self.blobs))
        except (RubbishError, MeshError) as error:
            reason = RUBBISH if isinstance(error, RubbishError) else NOT_STORED
            await self._doubt(claim, reason, error, ticket.job)
            raise unknown(call) from None
        await _surely(call, lambda: self.ledger.succeed(claim, made, brought.usd))
        return made

    async def _follow(self, errand: Errand, ticket: Ticket, brought: "_Brought") -> None:
        seconds = (
            errand.seconds + MARGIN_SECONDS
        )  # so that it is here that the time is up first, and the job stopped
        async with errand.waiting(), aclosing(self.provider.follow(ticket, seconds)) as events:
            async for event in events:
                if isinstance(event, Step):
                    errand.tell(event)
                elif isinstance(event, Cost):
                    usd = _usable_usd(event.usd)
                    brought.usd = brought.usd if usd is None else usd
                else:
                    brought.media.append(event)

    async def _stop(self, ticket: Ticket) -> bool:
        try:
            async with asyncio.timeout(CANCEL_SECONDS + MARGIN_SECONDS):
                return await self.provider.cancel(ticket, CANCEL_SECONDS)
        except Exception as error:
            log.warning("a paid job could not be cancelled", job=ticket.job, error=type(error).__name__)
            return False

    async def _fail(self, claim: Claim, reason: str, usd: float | None = None) -> None:
        await _surely(claim.call, lambda: self.ledger.fail(claim, reason, usd or 0.0))

    async def _leave(self, claim: Claim, reason: str) -> None:
        await _surely(claim.call, lambda: self.ledger.leave(claim, reason))

    async def _doubt(self, claim: Claim, reason: str, error: Exception, job: str = "") -> None:
        """Write down that nobody knows the outcome.

        A job of a known id may be looked at again at once, any other when the lease has run out.
        """
        call = claim.call
        if call.state is CallState.PENDING:  # else it was told before
            # Without the error's text, which may hold the provider's words.
            named = {"backend": call.backend, "reference": call.reference, "job": job}
            log.warning("a paid call is unknown", reason=reason, error=type(error).__name__, **named)
        write = self.ledger.leave if job else self.ledger.doubt
        await _surely(call, lambda: write(claim, reason))


@dataclass
class _Brought:
    """What a job has brought so far, and what it costs as far as the provider has said."""

    media: list[Media]
    usd: float | None


def _usable(ticket: Ticket) -> Ticket:
    """Return a ticket without what cannot be written down; it holds what a provider said."""
    named = len(ticket.job) <= MAX_JOB and ticket.job.isprintable()
    return replace(ticket, job=ticket.job if named else "", usd=_usable_usd(ticket.usd))


def _usable_usd(usd: float | None) -> float | None:
    return usd if usd is not None and 0.0 <= usd < math.inf else None


async def _surely(call: Call, save: Callable[[], Awaitable[T]]) -> T:
    """Store or write down something of a call, again after a pause while store or database are away.

    Raises MeshError OUTCOME_UNKNOWN when they stay away: the call stands open in the ledger then.
    """
    for pause in SAVE_PAUSES:
        try:
            return await save()
        except MeshError as error:
            log.warning("a paid call is not saved yet", reference=call.reference, reason=error.name)
        await asyncio.sleep(pause)
    try:
        return await save()
    except MeshError as error:
        raise unknown(call) from error


def unknown(call: Call) -> MeshError:
    """Return what a caller is told of whose call nobody knows what became."""
    message = (
        f"{call.backend} was called and its answer was lost: it may have charged for it, and is not called again. "
        f"Look into its console for {call.reference} before you ask under another request_id"
    )
    return MeshError(errors_pb2.ERROR_REASON_OUTCOME_UNKNOWN, message)
