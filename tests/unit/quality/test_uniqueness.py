"""What is remembered of earlier pictures, and what a picture is worth beside them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.quality_pb2 import ScoreImageRequest
from services.quality import service as service_module
from services.quality.history import History, Picture
from services.quality.matcher import Seen
from services.quality.service import QualityService
from services.quality.settings import Settings
from services.quality.tables import open_tables
from services.quality.uniqueness import uniqueness

MINE = Picture("me", "space", "a" * 64)


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


def named(name: str) -> Picture:
    return replace(MINE, sha256=name)


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[History]:
    async with open_tables(database_url) as database:
        yield History(database, kept=3)


def test_the_nearest_of_the_earlier_ones_decides() -> None:
    picture = unit(1, 0)
    assert uniqueness(picture, np.empty((0, 0), np.float32)) is None
    scores = [uniqueness(picture, np.stack([unit(-1, 0), unit(1, slope)])) for slope in (0, 0.3, 0.8, 3)]
    known = [score for score in scores if score is not None]
    assert known == sorted(known)
    assert (known[0], known[-1]) == (0, 1)


async def test_a_picture_is_compared_with_what_was_kept_before_it(history: History) -> None:
    assert len(await history.earlier(MINE)) == 0
    await history.keep(named("first"), unit(1, 0))
    await history.keep(MINE, unit(0, 1))
    await history.keep(named("later"), unit(1, 1))
    await history.keep(MINE, unit(1, 1))  # again: changes nothing
    found = await history.earlier(MINE)
    assert found == pytest.approx(unit(1, 0)[None], abs=1e-3)
    assert len(await history.earlier(named("unknown"))) == 3


async def test_no_other_tenant_and_no_other_training_is_seen(history: History) -> None:
    await history.keep(MINE, unit(1, 0))
    for stranger in (replace(MINE, tenant="you", sha256="b"), replace(MINE, space="other", sha256="b")):
        assert len(await history.earlier(stranger)) == 0


async def test_the_oldest_of_the_tenant_is_forgotten_and_nobody_elses(history: History) -> None:
    await history.keep(replace(MINE, tenant="you"), unit(1, 0))
    for number in range(5):
        await history.keep(named(str(number)), unit(1, number))
    found = await history.earlier(named("next"))
    assert found == pytest.approx(np.stack([unit(1, number) for number in (4, 3, 2)]), abs=1e-3)
    assert len(await history.earlier(replace(MINE, tenant="you", sha256="next"))) == 1


async def test_of_two_pictures_that_come_at_one_time_one_is_before_the_other(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "DATABASE_SECONDS", 20.0)
    absent: Any = None
    settings = Settings(triton_address="127.0.0.1:1")
    service = QualityService(absent, absent, history, absent, absent, absent, absent, settings)
    seen = Seen(unit(1, 0), "space", None)

    async def judged(name: str) -> bool:
        request = ScoreImageRequest(image=MediaRef(uri=f"blob:{name * 64}", sha256=name * 64), remember=True)
        return "uniqueness" in await service._judge(seen, request)

    assert sorted(await asyncio.gather(judged("a"), judged("b"))) == [False, True]
