"""Runs wait in order, and the oldest make room."""

from router.performance.buffer import Buffer
from tests.unit.router.performance.remembered import run


def names(buffer: Buffer, size: int = 100) -> list[str]:
    return [waiting.run.request_id for waiting in buffer.take(size)]


def test_the_oldest_are_dropped_and_counted_when_there_is_no_room() -> None:
    buffer = Buffer(3)
    assert [buffer.add(run(str(number))) for number in range(5)] == [0, 0, 0, 1, 1]
    assert names(buffer) == ["2", "3", "4"]


def test_runs_that_are_put_back_keep_their_place_and_number_as_far_as_there_is_room() -> None:
    buffer = Buffer(3)
    for number in range(3):
        buffer.add(run(str(number)))
    taken = buffer.take(2)
    buffer.add(run("3"))
    assert buffer.put_back(taken) == 1
    left = buffer.take(100)
    assert [waiting.run.request_id for waiting in left] == ["1", "2", "3"]
    assert left[0] == taken[1]
