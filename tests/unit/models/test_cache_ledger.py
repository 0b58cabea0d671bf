"""The books of the cache: what never happens, whatever callers do and in whatever order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.models.cache.ledger import ImpossibleMoveError, Ledger, Phase, Resident
from services.models.cache.plan import Busy, Fits, TooLarge

BUDGET = 100
SIZES = {"pinned": 30, "a": 20, "b": 30, "c": 50, "d": 70, "giant": 90}
NAMES = st.sampled_from(sorted(SIZES))


def ledger() -> Ledger:
    return Ledger(
        BUDGET, {name: Resident(name, size, pinned=name == "pinned") for name, size in SIZES.items()}
    )


class Books(RuleBasedStateMachine):
    """Callers and Triton as they come; the ledger is used as the cache uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.books = ledger()
        self.now = 0.0
        self.in_triton: set[str] = set()

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def move(self, name: str, phase: Phase) -> None:
        self.books.move(name, phase, self.tick())

    @rule(name=NAMES)
    def load(self, name: str) -> None:
        if self.books[name].phase is not Phase.UNLOADED:
            return
        match self.books.plan(name):
            case Fits(evict):
                for victim in evict:
                    assert self.books[victim].idle
                    assert not self.books[victim].pinned
                    self.move(victim, Phase.UNLOADING)
                self.move(name, Phase.LOADING)
            case Busy(waits_for):
                assert all(not self.books[one].idle for one in waits_for)
            case TooLarge():
                assert name in ("giant",) or self.books["pinned"].holds

    @rule(name=NAMES, works=st.booleans())
    def loaded(self, name: str, works: bool) -> None:
        if self.books[name].phase is Phase.LOADING:
            self.move(name, Phase.READY if works else Phase.UNLOADED)
            (self.in_triton.add if works else self.in_triton.discard)(name)

    @rule(name=NAMES)
    def acquire(self, name: str) -> None:
        if self.books[name].phase is Phase.READY:
            self.books.acquire(name, self.tick())
        else:
            with pytest.raises(ImpossibleMoveError):
                self.books.acquire(name, self.tick())

    @rule(name=NAMES)
    def release(self, name: str) -> None:
        if self.books[name].leases:
            self.books.release(name, self.tick())

    @rule(name=NAMES)
    def retire(self, name: str) -> None:
        if self.books[name].phase is Phase.READY and name != "pinned":
            self.move(name, Phase.UNLOADING)

    @rule(name=NAMES)
    def unloaded(self, name: str) -> None:
        resident = self.books[name]
        if resident.phase is Phase.UNLOADING:
            self.move(name, Phase.READY if resident.leases else Phase.UNLOADED)
            if not resident.leases:
                self.in_triton.discard(name)

    @rule(name=NAMES)
    def out_of_memory(self, name: str) -> None:
        if self.books[name].phase is Phase.READY:
            self.move(name, Phase.QUARANTINED)

    @rule(name=NAMES)
    def renewed(self, name: str) -> None:
        if self.books[name].phase is Phase.QUARANTINED:
            self.move(name, Phase.LOADING)

    @rule()
    def triton_dies(self) -> None:
        self.in_triton.clear()

    @precondition(lambda self: self.now > 0)
    @rule()
    def look(self) -> None:
        asked = self.tick()
        gone = self.books.reconcile(self.in_triton, asked, self.tick())
        assert not set(gone) & self.in_triton
        assert all((one.phase is Phase.READY) <= (one.name in self.in_triton) for one in self.books)

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert self.books.used <= BUDGET

    @invariant()
    def what_is_pinned_makes_no_room(self) -> None:
        assert self.books["pinned"].phase is not Phase.UNLOADING

    @invariant()
    def only_what_is_loaded_was_loaded_at_some_time(self) -> None:
        assert all(one.loaded_at is None for one in self.books if one.phase is Phase.UNLOADED)


Books.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_books = Books.TestCase


def test_what_turned_out_larger_than_declared_makes_others_go() -> None:
    books = ledger()
    for moment, name in enumerate(("a", "b", "pinned")):
        books.move(name, Phase.LOADING, moment)
        books.move(name, Phase.READY, moment)
    assert books.surplus() == ()
    books["b"].measured = 60
    assert books.used == 110
    assert books.surplus() == ("a",)
    books["a"].waiting = 1
    assert books.surplus() == ("b",), "who is waited for stays"
    books.acquire("b", 5.0)
    assert books.surplus() == (), "nobody can go"


def test_a_draining_model_counts_until_nobody_uses_it() -> None:
    books = ledger()
    books.move("c", Phase.LOADING, 1.0)
    books.move("c", Phase.READY, 1.0)
    books.acquire("c", 2.0)
    books.move("c", Phase.UNLOADING, 3.0)
    assert books.used == 50
    assert books.plan("d") == Busy(("c",))
    books.release("c", 4.0)
    assert books.used == 0
    assert books.plan("d") == Fits()


def test_what_moved_after_triton_was_asked_is_left_alone() -> None:
    books = ledger()
    books.move("a", Phase.LOADING, 1.0)
    books.move("a", Phase.READY, 3.0)
    assert books.reconcile(set(), asked_at=2.0, now=4.0) == []
    assert books["a"].phase is Phase.READY
    assert books.reconcile(set(), asked_at=5.0, now=5.0) == ["a"]
    assert books["a"].phase is Phase.UNLOADED


def test_what_is_found_loaded_is_ready_and_nobody_knows_since_when() -> None:
    books = ledger()
    books.reconcile({"b", "a stranger"}, asked_at=1.0, now=1.0)
    assert books["b"].phase is Phase.READY
    assert books["b"].loaded_at is None
