"""Every number is seen once, in whatever order numbers turn up."""

from hypothesis import given
from hypothesis import strategies as st

from router.performance import window as module
from router.performance.window import SETTLED_SECONDS, Window


def look(window: Window, there: set[int], now: float) -> list[int]:
    """Ask for what is above the floor and was not seen, as the table is asked."""
    unseen = sorted(number for number in there if number > window.floor and number not in window)
    window.see(unseen, now)
    return unseen


def test_a_number_that_turns_up_after_a_higher_one_is_seen_once() -> None:
    window = Window()
    assert look(window, {1, 3}, 0) == [1, 3]
    assert look(window, {1, 2, 3}, SETTLED_SECONDS - 1) == [2]
    assert look(window, {1, 2, 3}, SETTLED_SECONDS + 1) == []
    assert window.floor == 3, "nothing that is settled is asked for again"


@given(st.lists(st.floats(0, SETTLED_SECONDS - 2), max_size=60), st.floats(0.1, 5))
def test_every_number_is_seen_exactly_once_while_transactions_are_shorter_than_the_distance(
    delays: list[float], between: float
) -> None:
    shown = {number: number * between + delay for number, delay in enumerate(delays, 1)}
    window, seen = Window(), []
    for tick in range(int(len(delays) * between + SETTLED_SECONDS) + 2):
        seen += look(window, {number for number, at in shown.items() if at <= tick}, tick)
    assert sorted(seen) == sorted(shown)


def test_it_remembers_so_many_numbers_and_no_more(monkeypatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    window = Window()
    window.see(range(1, 26), 0)
    assert window.floor == 15
    assert len(window._seen) == 10
    assert all(number in window for number in range(1, 26))
    assert 26 not in window
