"""The order of the fair queue, in virtual time: no threads, no clock."""

import itertools
from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.models.serving.batching import FairQueue

Flow = tuple[str, float]  # bucket, cost of a unit


def fill(queue: FairQueue[int], flows: Iterable[Flow], units: int) -> None:
    for owner, (bucket, cost) in enumerate(flows):
        queue.push(owner, bucket, [owner] * units, cost)


@given(
    flows=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([0.5, 1.0, 3.0])), min_size=2, max_size=6
    ),
    limit=st.integers(1, 5),
)
def test_what_two_waiting_owners_have_been_handed_never_differs_by_more_than_the_bound(
    flows: list[Flow], limit: int
) -> None:
    queue: FairQueue[int] = FairQueue()
    fill(queue, flows, 400)
    handed = Counter[int]()
    differences: dict[tuple[int, int], list[float]] = {}
    for _ in range(60):
        for owner in queue.take(limit)[1]:
            handed[owner] += 1
        for one, other in itertools.combinations(range(len(flows)), 2):
            differences.setdefault((one, other), [0.0]).append(
                handed[one] * flows[one][1] - handed[other] * flows[other][1]
            )
    largest = max(cost for _, cost in flows)
    bound = 2 * limit * largest + 2 * largest
    assert all(queue.waiting(owner) for owner in range(len(flows)))
    # The largest difference over ANY stretch of time is that between the highest and the lowest point.
    assert max(max(seen) - min(seen) for seen in differences.values()) <= bound


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 3), st.sampled_from("ab"), st.integers(1, 5)),
            st.tuples(st.just("take"), st.integers(1, 4)),
            st.tuples(st.just("drop"), st.integers(0, 3)),
            st.tuples(st.just("remove"), st.integers(0, 3)),
        ),
        max_size=60,
    )
)
def test_every_unit_is_handed_out_once_in_its_owners_order_and_among_its_like(
    operations: list[tuple[object, ...]],
) -> None:
    queue: FairQueue[tuple[int, str, int]] = FairQueue()
    expected: dict[int, deque[tuple[int, str, int]]] = {owner: deque() for owner in range(4)}
    serial = itertools.count()
    for operation in operations:
        match operation:
            case ("push", int(owner), str(bucket), int(number)):
                units = [(owner, bucket, next(serial)) for _ in range(number)]
                queue.push(owner, bucket, units, 1.0)
                expected[owner].extend(units)
            case ("take", int(limit)):
                if not any(expected.values()):
                    with pytest.raises(IndexError, match="nothing waits"):
                        queue.take(limit)
                    continue
                ready = queue.ready()
                common, batch = queue.take(limit)
                assert 1 <= len(batch) <= min(limit, ready)
                for unit in batch:
                    assert unit[1] == common
                    assert expected[unit[0]].popleft() == unit
            case ("drop", int(owner)):
                queue.drop(owner)
                expected[owner].clear()
            case ("remove", int(owner)):
                queue.remove(owner)
                expected[owner].clear()
        assert len(queue) == sum(map(len, expected.values()))
        assert [queue.waiting(owner) for owner in range(4)] == [len(expected[owner]) for owner in range(4)]


def test_a_batch_is_filled_from_others_of_its_bucket_and_never_mixed() -> None:
    queue: FairQueue[int] = FairQueue()
    fill(queue, [("a", 1.0), ("b", 1.0), ("a", 1.0)], 2)
    assert queue.ready() == 4
    assert queue.take(4) == ("a", [0, 2, 0, 2])
    assert queue.take(4) == ("b", [1, 1])


def test_one_owner_alone_fills_whole_batches() -> None:
    queue: FairQueue[int] = FairQueue()
    fill(queue, [("a", 7.0)], 8)
    assert [len(queue.take(4)[1]) for _ in range(2)] == [4, 4]


def test_idling_saves_nothing_up() -> None:
    """One that comes late or comes back starts beside the others, not with all the time it did not use."""
    queue: FairQueue[str] = FairQueue()
    queue.push("early", "a", ["early"] * 200, 1.0)
    queue.push("back", "a", ["back"], 1.0)
    for _ in range(100):
        queue.take(1)
    queue.push("late", "a", ["late"] * 50, 1.0)
    queue.push("back", "a", ["back"] * 50, 1.0)
    shares = Counter(unit for _ in range(60) for unit in queue.take(1)[1])
    assert shares == {"early": 20, "late": 20, "back": 20}


def test_riding_along_is_no_way_to_get_ahead() -> None:
    """Beside a leader with one unit at a time, a rider could fill every batch; another bucket would pay for it."""
    queue: FairQueue[str] = FairQueue()
    queue.push("rider", "a", ["rider"] * 1000, 1.0)
    queue.push("other", "b", ["other"] * 1000, 1.0)
    handed = Counter[str]()
    for _ in range(100):
        if not queue.waiting("single"):
            queue.push("single", "a", ["single"], 1.0)
        handed.update(queue.take(8)[1])
    assert abs(handed["rider"] - handed["other"]) <= 2 * 8 + 2


def test_a_cost_must_be_positive() -> None:
    with pytest.raises(ValueError, match="cost: must be more than 0"):
        FairQueue[int]().push(0, "a", [1], 0.0)


@dataclass
class Request:
    """A closed loop's request: `steps` times `units` units, the next step when all of one are done."""

    bucket: Hashable
    steps: int
    units: int
    cost: float


def latencies(limit: int, *, large: Request, small: Request, seconds: float, smalls: int = 1) -> list[float]:
    """How long each small request took on one server whose time is the units' cost, while a large one never ends."""
    queue: FairQueue[int] = FairQueue()
    requests = {0: large} | dict.fromkeys(range(1, smalls + 1), small)
    owners = itertools.count(smalls + 1)
    left = {owner: [request.steps, request.units] for owner, request in requests.items()}
    began = dict.fromkeys(requests, 0.0)
    for owner, request in requests.items():
        queue.push(owner, request.bucket, [owner] * request.units, request.cost)
    now, found = 0.0, []
    while now < seconds:
        _, batch = queue.take(limit)
        now += sum(requests[owner].cost for owner in batch)
        for owner in batch:
            left[owner][1] -= 1
            if left[owner][1]:
                continue
            request = requests[owner]
            left[owner] = [left[owner][0] - 1, request.units]
            if left[owner][0] == 0:
                queue.remove(owner)
                found += [now - began[owner]] if owner else []
                new = next(owners) if owner else 0
                requests[new], left[new], began[new] = request, [request.steps, request.units], now
                owner = new
            queue.push(owner, request.bucket, [owner] * request.units, request.cost)
    return found


SMALL_DRAWING = Request("step", steps=4, units=2, cost=1.0)
LARGE_DRAWING = Request("step", steps=100, units=32, cost=1.0)
SMALL_PICTURE = Request((80, 80), steps=1, units=1, cost=80.0**2)
LARGE_PICTURE = Request((320, 320), steps=1, units=49, cost=320.0**2)


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_a_small_drawing_beside_a_large_one_waits_for_one_batch_a_step(limit: int) -> None:
    """One picture of 4 steps beside sixteen of 100; in order of arrival it would wait for 3,200 rows."""
    found = latencies(limit, large=LARGE_DRAWING, small=SMALL_DRAWING, seconds=2000)
    alone = SMALL_DRAWING.steps * SMALL_DRAWING.units
    # Each step: at most one batch that has begun, and the batches that the step's own rows are in.
    own = max(limit, SMALL_DRAWING.units * (2 if limit == 1 else 1))
    assert len(found) > 50
    assert max(found) <= SMALL_DRAWING.steps * (limit + own)
    assert max(found) <= alone * max(2, limit)


def test_a_small_picture_beside_a_large_one_waits_for_one_tile() -> None:
    """64 pixels a side (80 with its margin) beside 2048, which is 49 tiles of 320; in order of arrival it would wait for all."""
    found = latencies(1, large=LARGE_PICTURE, small=SMALL_PICTURE, seconds=3e7)
    assert len(found) > 50
    assert max(found) <= LARGE_PICTURE.cost + 2 * SMALL_PICTURE.cost


@pytest.mark.parametrize("smalls", [1, 4, 16])
def test_small_ones_do_not_starve_a_large_one(smalls: int) -> None:
    """However many come, one after the other, the large one gets its share, but for the batch that it was ahead
    when each of them came."""
    seconds = 8000.0
    found = latencies(4, large=LARGE_DRAWING, small=SMALL_DRAWING, seconds=seconds, smalls=smalls)
    used = len(found) * SMALL_DRAWING.steps * SMALL_DRAWING.units
    assert seconds - used >= seconds / (smalls + 1) * 0.8
