import asyncio

import pytest

from services.usage.ratings import Rated, Ratings

ONE, OTHER, ANOTHERS = Rated("acme", "gen-1"), Rated("acme", "gen-2"), Rated("zeta", "gen-1")


class Teller:
    """Counts what is told; fails or waits where a test says so."""

    def __init__(self):
        self.told = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()

    def telling(self, what):
        async def tell():
            await self.gate.wait()
            if self.error:
                raise self.error
            self.told.append(what)

        return tell


async def rate(ratings, teller, rated, rating):
    await ratings.rate(rated, rating, teller.telling((rated, rating)))


async def test_a_rating_that_is_sent_again_is_told_once_and_a_changed_one_again():
    ratings, teller = Ratings(), Teller()
    for rated, rating in [(ONE, 4), (ONE, 4), (OTHER, 4), (ANOTHERS, 4), (ONE, 2), (ONE, 2), (ONE, 4)]:
        await rate(ratings, teller, rated, rating)
    assert teller.told == [(ONE, 4), (OTHER, 4), (ANOTHERS, 4), (ONE, 2), (ONE, 4)]


async def test_one_that_could_not_be_told_can_be_sent_again():
    ratings, teller = Ratings(), Teller()
    teller.error = ValueError("away")
    with pytest.raises(ValueError, match="away"):
        await rate(ratings, teller, ONE, 4)
    teller.error = None
    await rate(ratings, teller, ONE, 4)
    assert teller.told == [(ONE, 4)]


async def test_two_at_once_are_one_and_who_goes_away_leaves_the_other_its_answer():
    ratings, teller = Ratings(), Teller()
    teller.gate.clear()
    first, second = (asyncio.create_task(rate(ratings, teller, ONE, 4)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    teller.gate.set()
    await second
    assert teller.told == [(ONE, 4)]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_waits_for_anothers_telling_that_fails_tells_it_himself():
    ratings, teller = Ratings(), Teller()
    teller.gate.clear()
    teller.error = TimeoutError("the first one's time is up")
    first, second = (asyncio.create_task(rate(ratings, teller, ONE, 4)) for _ in range(2))
    await asyncio.sleep(0)
    teller.gate.set()
    with pytest.raises(TimeoutError):
        await first
    teller.error = None
    await second
    assert teller.told == [(ONE, 4)]


async def test_what_is_remembered_is_bounded():
    ratings, teller = Ratings(kept=2), Teller()
    for number in range(4):
        await rate(ratings, teller, Rated("acme", str(number)), 3)
    await rate(ratings, teller, Rated("acme", "3"), 3)
    await rate(ratings, teller, Rated("acme", "0"), 3)
    assert len(teller.told) == 5


async def test_leaving_waits_for_what_is_being_told():
    teller = Teller()
    teller.gate.clear()
    async with Ratings() as ratings:
        task = asyncio.create_task(rate(ratings, teller, ONE, 4))
        await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, teller.gate.set)
    assert teller.told == [(ONE, 4)]
