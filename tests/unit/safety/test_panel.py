"""The panel: all checkers at one time, one verdict, and no pass where one of them could not look."""

import asyncio

import pytest

from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline
from services.runtime.errors import MeshError
from services.safety.category import Category, Signal
from services.safety.pictures.checker import NeedsWeights, Opinion
from services.safety.pictures.panel import Panel
from services.safety.verdict import Check, Went, to_verdict
from tests.unit.safety.checkers import CALM, Scripted, never, shown

NUDE = Signal(Category.SEXUAL, 4, "second/1", "probability 0.812")
GORE = Signal(Category.VIOLENCE, 5, "third/1", "probability 0.7")


async def unchecked(*checkers: Scripted) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await Panel(checkers).look(shown(), "the picture")
    assert caught.value.reason == errors_pb2.ERROR_REASON_SAFETY_UNCHECKED
    return caught.value


async def test_every_checker_is_in_the_verdict_in_the_panels_order() -> None:
    panel = Panel(
        [
            Scripted("first/1"),
            Scripted("second/1", Opinion([NUDE], 0.812)),
            Scripted("third/1", Opinion([GORE], 0.7)),
            Scripted("fourth/1", NeedsWeights()),
        ]
    )
    seen = await panel.look(shown(), "the picture")
    assert seen.checks == [
        Check("first/1", ()),
        Check("second/1", [NUDE]),
        Check("third/1", [GORE]),
        Check("fourth/1", went=Went.NEEDS_WEIGHTS),
    ]
    assert seen.risk == 0.812, "what has no weights has no risk, either"
    verdict = to_verdict(seen.checks, shown().held.policy)
    assert list(verdict.checks) == ["first/1", "second/1", "third/1"]
    assert [(check.checker, check.status, check.matched) for check in verdict.check_results] == [
        ("first/1", 1, False),
        ("second/1", 1, True),
        ("third/1", 1, True),
        ("fourth/1", 3, False),
    ]


async def test_checkers_look_at_one_time() -> None:
    """Each answers only when all have begun."""
    together = asyncio.Barrier(3)
    checkers = [Scripted(f"{name}/1", before=together.wait) for name in ("a", "b", "c")]
    async with asyncio.timeout(30):
        assert len((await Panel(checkers).look(shown(), "the picture")).checks) == 3


@pytest.mark.parametrize(
    "nonsense",
    [
        ValueError("a secret"),
        MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "away"),
        MeshError(errors_pb2.ERROR_REASON_MEDIA_INVALID, "what could be read is no fault of the media"),
        None,
        0.3,
        Opinion(risk=float("nan")),
        Opinion(risk=-0.1),
        Opinion(risk=1.1),
        Opinion([Signal(Category.SEXUAL, 8, "b/1", "")]),
        Opinion([Signal(Category.SEXUAL, -1, "b/1", "")]),
        Opinion([Signal(Category.SEXUAL, 2.5, "b/1", "")]),  # type: ignore[arg-type]
        Opinion([Signal("sexual", 2, "b/1", "")]),  # type: ignore[arg-type]
    ],
    ids=repr,
)
async def test_a_checker_that_fails_or_answers_nonsense_is_named(nonsense: object) -> None:
    error = await unchecked(Scripted("a/1"), Scripted("b/1", nonsense), Scripted("c/1"))
    assert error.message == "the picture could not be checked for safety by b/1, which is no pass; try again"


async def test_a_late_checker_is_named_and_the_others_are_stopped() -> None:
    late, other = Scripted("late/1", before=never, seconds=0.01), Scripted("other/1", before=never)
    error = await unchecked(other, late)
    assert "by late/1," in error.message
    assert late.stopped.is_set()
    assert other.stopped.is_set()


async def test_others_have_ended_before_the_failure_is_told() -> None:
    ended: list[str] = []

    async def slow_to_stop() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0.01)
            ended.append("stopped")

    await unchecked(Scripted("a/1", before=slow_to_stop), Scripted("b/1", RuntimeError()))
    assert ended == ["stopped"]


async def test_a_cancelled_look_stops_all_checkers() -> None:
    checkers = [Scripted(f"{name}/1", before=never) for name in ("a", "b")]
    task = asyncio.create_task(Panel(checkers).look(shown(), "the picture"))
    while not all(checker.looked for checker in checkers):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(checker.stopped.is_set() for checker in checkers)


async def test_a_caller_whose_time_is_over_is_told_so() -> None:
    checker = Scripted("a/1")
    with deadline.until(0.0), pytest.raises(MeshError) as caught:
        await Panel([checker]).look(shown(), "the picture")
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert checker.looked == 0


async def test_a_panel_without_weights_passes_nothing() -> None:
    error = await unchecked(Scripted("a/1", NeedsWeights()), Scripted("b/1", NeedsWeights()))
    assert error.message.startswith("the picture could not be checked for safety, ")
    await unchecked()


def test_names_tell_checkers_apart() -> None:
    with pytest.raises(ValueError, match="one name"):
        Panel([Scripted("a/1", CALM), Scripted("a/1", CALM)])
