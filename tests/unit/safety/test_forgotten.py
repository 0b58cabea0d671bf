"""What could not be checked is let go at once: collecting it by the way may take until memory is full."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import pytest
from structlog.testing import capture_logs

from services.runtime.admission import Admission
from services.runtime.errors import MeshError
from services.runtime.threads import in_thread
from services.runtime.turns import in_turn
from services.safety.pictures.checker import NeedsWeights, Opinion, Pixels, Shown
from services.safety.pictures.film import filming
from services.safety.pictures.panel import Panel
from services.safety.pictures.sampling import Pace, Sampler
from services.safety.unchecked import late
from tests.unit.safety.checkers import GREY, LONG, Scripted, book, never, shown


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    with capture_logs():  # structlog's own way to print a traceback holds what it prints
        yield
    gc.enable()


class Broken:
    """Looks at the picture in a thread, and fails."""

    name = "broken/1"
    seconds = LONG

    async def check(self, shown: Shown) -> Opinion | NeedsWeights:
        await in_thread(refuse, shown.pixels)
        raise AssertionError("was not refused")


def refuse(picture: Pixels) -> None:
    raise ValueError(picture.shape)


async def in_a_panel(picture: Pixels) -> None:
    await Panel([Broken(), Scripted("other/1", before=never)]).look(Shown(picture, "", book()), "the picture")


async def in_a_film(picture: Pixels) -> None:
    async with filming(Panel([Broken()]), shown(), Sampler(Pace(12, 0.5)), 2) as film:
        await film.add(picture, 0, None)
        await never()


async def in_its_turn(picture: Pixels) -> None:
    await in_turn(Admission(1, 0, 1.0), LONG, lambda: in_thread(refuse, picture), lambda: late("the picture"))


@pytest.mark.parametrize("look", [in_a_panel, in_a_film, in_its_turn])
async def test_a_picture_that_could_not_be_checked(look: Callable[[Pixels], Awaitable[None]]) -> None:
    picture = GREY.copy()
    held = weakref.ref(picture)
    try:
        await look(picture)
    except (MeshError, ValueError):
        del picture
    else:
        raise AssertionError("was checked")
    async with asyncio.timeout(LONG):
        while held() is not None:  # the thread itself lets go after it has said what it has to say
            await asyncio.sleep(0.01)
