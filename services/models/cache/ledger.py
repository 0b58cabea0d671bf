"""Every model's state, who uses it and what it holds: the books of the cache. Nothing here awaits or asks anybody."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from services.models.cache.plan import Fits, Holding, Plan, plan


class Phase(StrEnum):
    """UNLOADED -> LOADING -> READY -> UNLOADING -> UNLOADED; READY -> QUARANTINED -> LOADING when memory ran out.

    UNLOADING begins with waiting for who uses the model, and goes back to READY when that takes too long.
    """

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    QUARANTINED = "quarantined"


MOVES: Mapping[Phase, Set[Phase]] = {
    Phase.UNLOADED: {Phase.LOADING, Phase.READY},  # READY: found loaded
    Phase.LOADING: {Phase.READY, Phase.UNLOADED},
    Phase.READY: {Phase.UNLOADING, Phase.QUARANTINED, Phase.UNLOADED},  # UNLOADED: found gone
    Phase.UNLOADING: {Phase.UNLOADED, Phase.READY},
    Phase.QUARANTINED: {Phase.LOADING, Phase.UNLOADED},
}


class ImpossibleMoveError(Exception):
    """A model was to change into a state that does not follow its own; a fault of the cache."""


@dataclass(eq=False)
class Resident:
    """One model: bytes, seconds since the epoch, and how many use it (`leases`) or wait for it (`waiting`).

    `measured` is what its processes held when last looked at; 0 when nobody could look.
    """

    name: str
    declared: int
    pinned: bool = False
    requires: tuple[str, ...] = ()
    phase: Phase = Phase.UNLOADED
    measured: int = 0
    leases: int = 0
    waiting: int = 0
    used_at: float = 0.0
    moved_at: float = 0.0
    loaded_at: float | None = None
    stood: bool = False
    """Whether it was READY before: a pinned model that never was may have no build."""

    @property
    def size(self) -> int:
        """What is set aside for it: what its entry declares it grows to, or what it was seen to hold if that is more."""
        return max(self.declared, self.measured)

    @property
    def holds(self) -> bool:
        """Whether it counts against the budget: not when it is gone, or going with nothing left to stop it."""
        return self.phase is not Phase.UNLOADED and (self.phase is not Phase.UNLOADING or self.leases > 0)

    @property
    def idle(self) -> bool:
        """Whether it is loaded and nobody uses it or waits for it."""
        return self.phase is Phase.READY and not self.leases and not self.waiting


@dataclass(eq=False)
class Ledger:
    """The models by name and the bytes they may hold together."""

    budget: int
    residents: dict[str, Resident] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Resident:
        return self.residents[name]

    def __iter__(self) -> Iterator[Resident]:
        return iter(self.residents.values())

    @property
    def used(self) -> int:
        """Bytes set aside for what is loaded or being loaded."""
        return sum(resident.size for resident in self if resident.holds)

    def loaded(self) -> dict[str, int]:
        """Return what is set aside for each model that is READY."""
        return {one.name: one.size for one in self if one.phase is Phase.READY}

    def plan(self, name: str) -> Plan:
        """Return what loading a model takes."""
        return plan(self[name].size, self._holdings(), self.budget)

    def surplus(self) -> tuple[str, ...]:
        """Return who has to go, of those that can, because models turned out larger than declared."""
        answer = plan(0, self._holdings(), self.budget)
        if isinstance(answer, Fits):
            return answer.evict
        idle = sorted((resident for resident in self if resident.idle), key=lambda one: one.used_at)
        return tuple(resident.name for resident in idle if not resident.pinned)

    def move(self, name: str, phase: Phase, now: float) -> None:
        """Change a model's state. Raises ImpossibleMoveError."""
        resident = self[name]
        if phase not in MOVES[resident.phase]:
            raise ImpossibleMoveError(f"{name}: {resident.phase} cannot become {phase}")
        resident.phase, resident.moved_at = phase, now
        resident.stood |= phase is Phase.READY
        match phase:
            case Phase.READY if resident.loaded_at is None:
                resident.loaded_at = resident.used_at = now
            case Phase.UNLOADED | Phase.LOADING:
                resident.loaded_at = None
        # What one large request made it grow to ended with its processes; remembered, it would never be loaded again.
        if phase is Phase.UNLOADED and resident.measured > self._room_beside_pinned(name):
            resident.measured = 0

    def acquire(self, name: str, now: float) -> None:
        """Count one more who uses a model, which must be READY. Raises ImpossibleMoveError."""
        resident = self[name]
        if resident.phase is not Phase.READY:
            raise ImpossibleMoveError(f"{name}: cannot be used while {resident.phase}")
        resident.leases += 1
        resident.used_at = now

    def release(self, name: str, now: float) -> None:
        """Count one less; in any state, since a model may go from under a lease when Triton dies."""
        resident = self[name]
        resident.leases -= 1
        resident.used_at = now

    def reconcile(self, ready: Set[str], asked_at: float, now: float) -> list[str]:
        """Take in what Triton had loaded at `asked_at` and return what is gone without our doing.

        What is on the move, or has moved since, is left alone.
        """
        settled = [one for one in self if one.moved_at < asked_at]
        gone = [one.name for one in settled if one.phase is Phase.READY and one.name not in ready]
        found = [one.name for one in settled if one.phase is Phase.UNLOADED and one.name in ready]
        for name in gone:
            self.move(name, Phase.UNLOADED, now)
        for name in found:
            self.move(name, Phase.READY, now)
            self[name].loaded_at = None  # it was loaded at a time that nobody here saw
        return gone

    def fallen(self, since: float) -> list[str]:
        """Return the pinned models that are gone, and were not moved at `since` or later."""
        return [
            one.name
            for one in self
            if one.pinned and one.stood and one.phase is Phase.UNLOADED and one.moved_at < since
        ]

    def _room_beside_pinned(self, name: str) -> int:
        return self.budget - sum(one.size for one in self if one.pinned and one.holds and one.name != name)

    def _holdings(self) -> list[Holding]:
        return [
            Holding(one.name, one.size, one.used_at, one.pinned, busy=not one.idle)
            for one in self
            if one.holds
        ]
