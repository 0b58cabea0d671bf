"""The backends of this router and what is known of each: state, room, trust. One owner, one event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from router.backends.protocol import Backend
from router.breaker import Breaker, Fault
from router.entries import BackendEntry
from router.learning import Learning, typical
from router.snapshot import TAKES_WORK, BackendView, Snapshot, State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.admission import Admission
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError


@dataclass(eq=False)
class Member:
    """One backend of the fleet.

    `probed` is what its probes say and `misses` how many in a row went unanswered; `breaker` says how far it is trusted;
    `drained` is the operator's wish.
    """

    entry: BackendEntry
    backend: Backend
    admission: Admission
    learning: Learning
    probed: State = State.UNAVAILABLE
    drained: bool = False
    checked_at: float = 0.0
    misses: int = 0
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.breaker = Breaker(self.entry.concurrency)

    @classmethod
    def of(cls, entry: BackendEntry, backend: Backend, learning: Learning) -> "Member":
        """Return a member; `learning` learns of its entry, whose prior is all there is where nothing was observed."""
        learning.add(entry)
        seconds = learning.forecast(entry.name).seconds(typical(entry))
        return cls(entry, backend, Admission(entry.concurrency, entry.queue, seconds), learning)

    @property
    def state(self) -> State:
        """UNAVAILABLE while its breaker is open, DRAINING while it would take work and shall not, else what its probes say."""
        if self.probed not in TAKES_WORK:
            return self.probed
        if not self.breaker.allowance:
            return State.UNAVAILABLE
        return State.DRAINING if self.drained else self.probed

    def view(self) -> BackendView:
        """Return what is known of it now."""
        entry, can, learning = self.entry, self.backend.capabilities, self.learning
        return BackendView(
            name=entry.name,
            model=entry.model,
            modality=can.modality,
            state=self.state,
            steps_by_tier=entry.steps_by_tier(),
            guidance_scale=entry.defaults.guidance_scale,
            max_steps=can.max_steps,
            max_images=can.max_images,
            concurrency=entry.concurrency,
            queue=entry.queue,
            allowance=self.breaker.allowance,
            forecast=learning.forecast(entry.name),
            quality=learning.quality(entry.name),
            price=entry.pricing(),
            sizes=can.sizes,
            max_prompt=entry.limits.prompt,
            durations=can.durations,
            loading=learning.loading(entry.name),
            takes_steps=can.steps,
            takes_seeds=can.seeds,
            negative_prompts=entry.negative_prompts and can.negative_prompts,
            edits=can.edits,
            by_name=entry.by_name,
            paid=entry.paid,
            external=entry.paid,
            commercial=entry.commercial,
            in_flight=self.admission.active,
            waiting=self.admission.queued,
            call_seconds=self.admission.seconds,
            remedy=entry.remedy,
            checked_at=self.checked_at,
            retires_at=_midnight(entry.retires),
        )


@dataclass(eq=False)
class Fleet:
    """All backends, by name. Whatever changes a member refreshes its view, which wakes the watchers.

    A backend is taken out after `misses` unanswered probes in a row: a busy machine answers late now and then.
    """

    members: dict[str, Member]
    misses: int = 1
    learning: Learning = field(default_factory=Learning)
    _views: dict[str, BackendView] = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._views = {name: member.view() for name, member in self.members.items()}

    @classmethod
    def of(
        cls,
        entries: Iterable[BackendEntry],
        adapt: Callable[[BackendEntry], Backend],
        misses: int = 1,
        learning: Learning | None = None,
    ) -> "Fleet":
        """Return a fleet of one member per entry; `adapt` makes the backend of an entry, `learning` learns of it."""
        learning = learning or Learning()
        members = {entry.name: Member.of(entry, adapt(entry), learning) for entry in entries}
        return cls(members, misses, learning)

    def put(self, entry: BackendEntry, backend: Backend) -> None:
        """Add a backend, or let it take the place of the one of its name; work that runs there runs on.

        One that was drained stays so: that is the operator's wish, and a model that was built again says nothing of it.
        """
        before = self.members.get(entry.name)
        self.members[entry.name] = member = Member.of(entry, backend, self.learning)
        member.drained = before is not None and before.drained
        self._refresh(member)
        self._views = dict(sorted(self._views.items()))  # a snapshot is by name

    def drop(self, name: str) -> None:
        """Forget a backend; work that runs there runs on. Raises KeyError."""
        del self.members[name], self._views[name]

    def snapshot(self) -> Snapshot:
        """Return what is known now of every backend."""
        return Snapshot(tuple(self._views.values()))

    async def watch(self) -> AsyncGenerator[BackendView]:
        """Yield every backend, then each one again when its state, load or trust changes; a slow reader gets the latest only."""
        told: dict[str, tuple[State, int, int]] = {}
        while True:
            changed = self._changed  # taken before the look, so that a change during a `yield` is not missed
            for view in self.snapshot().backends:
                now = view.state, view.in_flight, view.allowance
                if told.get(view.name) != now:
                    told[view.name] = now
                    yield view
            await changed.wait()

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[Member]:
        """Wait for one of the backend's slots and hold it.

        Raises MeshError OVERLOADED at once when its queue is full, MODEL_UNAVAILABLE when it was dropped or is trusted no
        more, while it waits too.
        """
        member = self.members.get(name)
        if member is None:
            message = f"{name} was taken out of service; ask again"
            raise MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=0)
        if not member.breaker.allowance:
            raise _untrusted(name)

        def moved(_position: int, _eta: float) -> None:
            self._refresh(member)

        try:
            async with member.admission.enter(moved):
                self._refresh(member)
                yield member
        finally:
            self._refresh(member)

    def confirm(self, name: str, state: State, spell: int) -> None:
        """Take in what a probe answered, UNAVAILABLE when it did not.

        `spell` is the breaker's when the probe was sent: an answer that a failure overtook counts for nothing.
        """
        member = self.members[name]
        member.misses = member.misses + 1 if state is State.UNAVAILABLE else 0
        if member.breaker.spell != spell or 0 < member.misses < self.misses:
            return
        if state is State.UNAVAILABLE and member.probed in TAKES_WORK:
            member.breaker.open(Fault.AWAY, time.monotonic())
        elif state in TAKES_WORK:
            member.breaker.answer(time.monotonic())
        self._set(member, state)

    def fail(self, name: str) -> None:
        """Take a backend out at once, because it just went away; its probes bring it back."""
        if member := self.members.get(name):
            self.note(member, Fault.AWAY, member.breaker.spell)

    def note(self, member: Member, fault: Fault | None, spell: int) -> None:
        """Take in how a run ended that began in the breaker's `spell`: with a fault of the backend, or well."""
        if fault is None:
            member.breaker.succeed(spell)
        elif member.breaker.fail(fault, spell, time.monotonic()) and fault is Fault.AWAY:
            member.probed = State.UNAVAILABLE
        self._set(member, member.probed)

    def drain(self, name: str, drained: bool) -> BackendView:
        """Give a backend nothing new, or take it back into service. Raises KeyError."""
        member = self.members[name]
        member.drained = drained
        return self._refresh(member)

    def _set(self, member: Member, state: State) -> None:
        member.probed, member.checked_at = state, time.time()
        name, allowance = member.entry.name, member.breaker.allowance
        if not allowance:
            member.admission.turn_away(lambda: _untrusted(name))
        elif allowance != member.admission.running:
            member.admission.resize(allowance)
        self._refresh(member)

    def _refresh(self, member: Member) -> BackendView:
        view = member.view()
        if (
            self.members.get(member.entry.name) is member
        ):  # not one that work still runs on after it was dropped
            self._views[member.entry.name] = view
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return view


def _untrusted(name: str) -> MeshError:
    message = f"{name} does not answer, or failed too often lately; it is tried again soon"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=DEFAULT_RETRY_SECONDS)


def _midnight(day: date | None) -> float:
    """Return when a day begins, UTC, in seconds since the epoch; 0 for none."""
    return 0.0 if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
