"""Remembers generations: the newest thousand or so, in memory, each with its events."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import status_pb2

from scrollintel.visual.v1 import errors_pb2, generation_pb2
from scrollintel.visual.v1.generation_pb2 import (
    Completed,
    Failed,
    GenerationResult,
    GenerationSpec,
    GenerationState,
)
from scrollintel.visual.v1.generation_pb2 import Generation as GenerationMessage
from services.orchestrator.log import EventLog
from services.orchestrator.pipeline import Work
from services.runtime.errors import TABLE, MeshError

# Codes of a generation that was ended by its caller or by its deadline, and did not fail.
ENDED_BY_CALLER = frozenset(
    TABLE[reason][0].value[0]
    for reason in (errors_pb2.ERROR_REASON_CANCELLED, errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED)
)


def new_id() -> str:
    """Return an id for a generation; nobody can guess another's."""
    return f"gen-{secrets.token_hex(8)}"


@dataclass(eq=False)
class Generation:
    """One generation: what was asked, where it stands, what happened."""

    work: Work
    tenant: str
    request_id: str
    fingerprint: str
    state: GenerationState.ValueType = generation_pb2.GENERATION_STATE_QUEUED
    result: GenerationResult | None = None
    error: status_pb2.Status | None = None
    created_at: Timestamp = field(default_factory=Timestamp)
    number: int = 0  # place in the order of acceptance
    decided: asyncio.Event = field(default_factory=asyncio.Event)  # whether there was room for it is known
    refusal: MeshError | None = None  # why there was none
    log: EventLog = field(init=False)

    def __post_init__(self) -> None:
        self.created_at.GetCurrentTime()
        self.log = EventLog(self.work.id)

    @property
    def id(self) -> str:
        """Its id."""
        return self.work.id

    @property
    def spec(self) -> GenerationSpec:
        """What was asked for, with every default filled in."""
        return self.work.spec

    @property
    def ended(self) -> bool:
        """Whether its terminal event was recorded."""
        return self.log.ended

    def tell(self, payload: Message) -> None:
        """Record one moment."""
        self.log.append(payload)

    def end(self, outcome: Completed | Failed) -> None:
        """Record how it ended; only the first end counts."""
        if self.ended:
            return
        if isinstance(outcome, Completed):
            self.state, self.result = outcome.result.state, outcome.result
        else:
            self.error = outcome.status
            by_caller = outcome.status.code in ENDED_BY_CALLER
            self.state = (
                generation_pb2.GENERATION_STATE_CANCELLED
                if by_caller
                else generation_pb2.GENERATION_STATE_FAILED
            )
        self.tell(outcome)

    def message(self) -> GenerationMessage:
        """Return the generation as it stands."""
        return GenerationMessage(
            id=self.id,
            state=self.state,
            spec=self.spec,
            created_at=self.created_at,
            result=self.result,
            error=self.error,
        )


class Store:
    """Holds at most `kept` generations; the oldest finished ones are forgotten first, running ones never.

    What runs is bounded by admission, so the store is bounded too. Tenants do not see one another's generations.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._count = 0
        self._generations: dict[str, Generation] = {}  # in the order of acceptance
        self._requests: dict[tuple[str, str], Generation] = {}

    def __len__(self) -> int:
        return len(self._generations)

    def add(self, generation: Generation) -> None:
        """Remember a new generation, and its request_id where it has one."""
        self._count += 1
        generation.number = self._count
        self._generations[generation.id] = generation
        if generation.request_id:
            self._requests[generation.tenant, generation.request_id] = generation
        surplus = len(self._generations) - self._kept
        finished = (old for old in self._generations.values() if old.ended)
        for old in list(islice(finished, max(0, surplus))):
            self.forget(old)

    def forget(self, generation: Generation) -> None:
        """Remember a generation no longer."""
        self._generations.pop(generation.id, None)
        self.release_request(generation)

    def release_request(self, generation: Generation) -> None:
        """Let the generation's request_id start new work again."""
        key = (generation.tenant, generation.request_id)
        if self._requests.get(key) is generation:
            del self._requests[key]

    def requested(self, tenant: str, request_id: str, fingerprint: str) -> Generation | None:
        """Return the generation that this request started before, if one did.

        Raises MeshError REQUEST_ID_REUSED when it started other work.
        """
        generation = self._requests.get((tenant, request_id)) if request_id else None
        if generation is not None and generation.fingerprint != fingerprint:
            raise MeshError(
                errors_pb2.ERROR_REASON_REQUEST_ID_REUSED,
                "request_id was used for another spec, objective, cost limit or user; choose a new one",
            )
        return generation

    def get(self, tenant: str, generation_id: str) -> Generation:
        """Return a generation. Raises MeshError NOT_FOUND when this tenant has none of that id."""
        generation = self._generations.get(generation_id)
        if generation is None or generation.tenant != tenant:
            raise MeshError(
                errors_pb2.ERROR_REASON_NOT_FOUND,
                f"no generation has this id, or it was forgotten; the newest {self._kept} are kept",
            )
        return generation

    def page(self, tenant: str, size: int, token: str) -> tuple[list[Generation], str]:
        """Return `size` generations, newest first, and the next page's token; empty on the last page.

        Raises MeshError FIELD_INVALID when the token is none that was given out.
        """
        if token and not (token.isascii() and token.isdecimal()):
            raise MeshError(
                errors_pb2.ERROR_REASON_FIELD_INVALID,
                "must be the next_page_token of the page before, or empty for the first",
                field="page_token",
            )
        below = int(token) if token else self._count + 1
        found = list(islice(self._newest(tenant, below), size + 1))
        more = len(found) > size
        return found[:size], str(found[size - 1].number) if more else ""

    def _newest(self, tenant: str, below: int) -> Iterator[Generation]:
        for generation in reversed(self._generations.values()):
            if generation.tenant == tenant and generation.number < below:
                yield generation
