"""Which frames of a video are looked at, and what is told of them together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from services.runtime.errors import MeshError
from services.safety.category import Category, Signal
from services.safety.pictures.checker import Opinion, PictureChecker, Pixels, Shown
from services.safety.pictures.film import Film, filming
from services.safety.pictures.panel import Panel, Seen
from services.safety.pictures.sampling import Pace, Sampler, glance
from services.safety.verdict import Check
from tests.unit.quality.moving import glide
from tests.unit.safety.checkers import CALM, GREY, LONG, RED, Scripted, SeesRed, never, shown

PACE = Pace(frames=12, seconds=0.5)


def taken(frames: Sequence[Pixels], seconds: float | None = None, pace: Pace = PACE) -> list[int]:
    """Numbers of the frames that are looked at; shown so many seconds apart."""
    sampler = Sampler(pace)
    return [
        number
        for number, frame in enumerate(frames)
        if sampler.takes(glance(frame), None if seconds is None else number * seconds)
    ]


def test_one_in_so_many_is_taken_where_nothing_changes() -> None:
    assert taken([GREY] * 30) == [0, 12, 24]
    assert taken([GREY] * 30, seconds=1 / 24) == [0, 12, 24]


def test_half_a_second_is_enough_at_any_rate() -> None:
    assert taken([GREY] * 12, seconds=0.25) == [0, 2, 4, 6, 8, 10]
    assert taken([GREY] * 30, seconds=1 / 240) == [0, 12, 24], "more frames a second do not thin them out"
    assert taken([GREY] * 6, seconds=-0.5) == [0, 1, 2, 3, 4, 5], "nor do times that run backwards"
    assert taken([GREY] * 30, seconds=0.0) == [0, 12, 24], "nor times that stand still"


def test_one_strange_frame_is_taken_and_so_is_the_return() -> None:
    frames = [GREY] * 30
    frames[17] = RED
    assert taken(frames) == [0, 12, 17, 18]


def test_a_cut_is_taken_and_a_slow_pan_is_none() -> None:
    pan = glide("chelsea", frames=10, speed=0.5)
    assert taken(pan) == [0]
    assert taken([*pan, *glide("coffee", frames=10, speed=0.5)]) == [0, 10]


def test_a_slow_change_is_noticed_though_no_two_frames_differ_much() -> None:
    fade = [GREY + level for level in range(0, 96, 2)]
    assert len(taken(fade, pace=Pace(frames=240, seconds=LONG))) > 4


async def filmed(
    checkers: Sequence[PictureChecker], frames: Sequence[Pixels], at_once: int = 2
) -> tuple[Film, Seen]:
    async with filming(Panel(checkers), shown(), Sampler(PACE), at_once) as film:
        for number, frame in enumerate(frames):
            await film.add(frame, number, None)
        await film.end()
    return film, film.seen()


async def test_a_bad_frame_between_samples_is_found_and_named() -> None:
    frames = [GREY] * 30
    frames[17] = RED
    film, seen = await filmed([SeesRed(), Scripted("calm/1")], frames)
    red = Signal(Category.VIOLENCE, 5, "red/1", "frame 17: red 220")
    assert seen.checks == [Check("red/1", [red]), Check("calm/1", [])]
    assert seen.risk == pytest.approx(220 / 255)
    assert (film.frames, film.checked) == (30, 5), "the first, two in twelve, there and back, and the last"


@pytest.mark.parametrize("number", [0, 13])
async def test_the_first_and_the_last_frame_are_always_looked_at(number: int) -> None:
    frames = [GREY] * 14
    frames[number] = GREY + 10  # no scene of its own
    checker = SeesRed()
    await filmed([checker], frames)
    assert sorted(checker.saw)[-1] == 138


async def test_a_frame_that_was_taken_is_not_looked_at_again_as_the_last() -> None:
    checker = SeesRed()
    await filmed([checker], [GREY] * 13)
    assert len(checker.saw) == 2


async def test_of_each_kind_the_worst_is_told_and_of_equals_the_first() -> None:
    @dataclass
    class Levels:
        name: str = "levels/1"
        seconds: float = LONG

        async def check(self, shown: Shown) -> Opinion:
            severity = int(shown.pixels[0, 0, 0]) // 30
            await asyncio.sleep(0.001 * (8 - severity))  # later frames are done first
            return Opinion(
                [
                    Signal(Category.SEXUAL, severity, self.name, "a"),
                    Signal(Category.SEXUAL, severity // 2, self.name, "b"),
                    Signal(Category.HATE, 1, self.name, "c"),
                ]
            )

    frames = [GREY // 128 * level for level in (30, 90, 180, 90, 180)]
    _, seen = await filmed([Levels()], frames, at_once=5)
    (check,) = seen.checks
    assert {(signal.category, signal.severity, signal.evidence) for signal in check.signals} == {
        (Category.SEXUAL, 6, "frame 2: a"),
        (Category.HATE, 1, "frame 0: c"),
    }


async def test_a_frame_that_cannot_be_checked_ends_the_film_and_is_named() -> None:
    hanging = Scripted("hanging/1", before=never)
    with pytest.raises(MeshError, match="frame 0 could not be checked for safety by broken/1"):
        async with asyncio.timeout(LONG):
            await filmed([Scripted("broken/1", ValueError()), hanging], [GREY] * 1000)
    assert hanging.stopped.is_set()


async def test_a_film_stops_while_it_waits_for_frames() -> None:
    """The next frame never comes, and the failure is told all the same."""

    async def wait() -> None:
        panel = Panel([Scripted("broken/1", ValueError())])
        async with filming(panel, shown(), Sampler(PACE), 2) as film:
            await film.add(GREY, 0, None)
            await never()

    with pytest.raises(MeshError, match="by broken/1"):
        await asyncio.wait_for(wait(), LONG)


async def test_a_slow_checker_makes_the_caller_wait() -> None:
    checker = Scripted("slow/1", CALM, before=never)
    film: Film | None = None

    async def send() -> None:
        nonlocal film
        async with filming(Panel([checker]), shown(), Sampler(PACE), 2) as film:
            for number in range(1000):
                await film.add(GREY, number, None)

    task = asyncio.create_task(send())
    async with asyncio.timeout(LONG):
        while checker.looked < 2:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert film is not None
    assert film.frames <= 25, "the third that is to be looked at waits, and so does the caller"
    assert checker.looked == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
