"""Figures that can be checked by hand, and a loop that is really closed."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scrollintel.visual import Media, Output, Queued, Stage, Step
from services.local.bench import figures as sums
from services.local.bench import plot
from services.local.bench.figures import Sample
from services.local.bench.loop import BURST, WARM_UPS, measure
from services.local.bench.paths import stage_seconds


def test_quantiles_are_nearest_rank():
    hundred = [float(value) for value in range(1, 101)]
    assert [sums.quantile(hundred, q) for q in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert sums.quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert sums.quantile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        sums.quantile([], 0.5)


@given(st.lists(st.floats(0, 1e3), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_one_of_the_values_with_that_share_at_or_below_it(values, q):
    found = sums.quantile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-9


def test_figures_and_stages():
    samples = [Sample("gateway", float(n), n + 0.5, {"draw": float(n), "check": 0.1}) for n in (1, 2, 3, 4)]
    found = sums.figures("gateway", samples, busy_seconds=8.0)
    assert (found.p50, found.p99, found.mean, found.per_second) == (2.0, 4.0, 2.5, 0.5)
    assert sums.stages(samples) == {"draw": (2.0, 4.0), "check": (0.1, 0.1)}


def event(kind, **fields):
    return kind(generation_id="g", sequence=1, time=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0), **fields)


def test_a_stage_lasts_from_the_event_before_to_the_one_that_ends_it():
    media = Media("", "", "", 0, 0, 0, 1)
    events = [
        (0.1, event(Queued, position=0, eta=0.0)),
        (0.4, event(Step, stage=Stage.DRAW, k=1, n=2)),
        (0.6, event(Step, stage=Stage.DRAW, k=2, n=2)),
        (0.9, event(Step, stage=Stage.CHECK, k=1, n=1)),
        (1.0, event(Output, index=0, media=media, seed=1)),
    ]
    assert stage_seconds(events) == pytest.approx({"queued": 0.1, "draw": 0.5, "check": 0.4})
    assert sum(stage_seconds(events).values()) == pytest.approx(1.0)


@pytest.mark.parametrize(("requests", "callers"), [(1, 1), (7, 2), (12, 3), (5, 8)])
async def test_every_path_gets_the_same_requests_and_callers_wait_for_themselves(requests, callers):
    active = dict.fromkeys("ab", 0)
    most = dict.fromkeys("ab", 0)
    order: list[str] = []

    def path(name):
        async def draw(seed):
            active[name] += 1
            most[name] = max(most[name], active[name])
            order.append(name)
            assert all(count == 0 for other, count in active.items() if other != name), "paths take turns"
            await asyncio.sleep(0.001)
            active[name] -= 1
            return Sample(name, 0.001, 0.001, {})

        return draw

    told: list[int] = []
    found = await measure({"a": path("a"), "b": path("b")}, requests, callers, 30, told.append)
    assert {name: len(one.samples) for name, one in found.items()} == {"a": requests, "b": requests}
    assert sum(told) == 2 * requests
    assert max(most.values()) <= callers
    runs = [name for name, _ in itertools.groupby(order[2 * WARM_UPS :])]
    assert len(runs) > requests // (callers * BURST), "and often"
    assert all(one.busy_seconds > 0 for one in found.values())


async def test_it_ends_when_the_time_is_over():
    async def slow(seed):
        await asyncio.sleep(0.05)
        return Sample("a", 0.05, 0.05, {})

    found = await measure({"a": slow}, 10_000, 1, seconds=0.3)
    assert 0 < len(found["a"].samples) < 20


def test_the_plot_is_a_picture_of_every_path(tmp_path):
    file = tmp_path / "new" / "plot.png"
    plot.draw(file, "a title", {"triton": [0.1, 0.2, 0.3], "gateway": [0.2, 0.25]})
    colours = {colour for _, colour in Image.open(file).convert("RGB").getcolors(1 << 20)}
    assert {(0x4C, 0x78, 0xA8), (0xF5, 0x85, 0x18)} <= colours
