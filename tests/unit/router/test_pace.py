"""The pace follows what was observed, whatever the size of the request."""

import pytest

from router.pace import Pace


def test_learns_per_step_and_image():
    pace = Pace(1.0)
    for _ in range(40):
        pace.observe(seconds=24.0, steps=24, images=4)
    assert pace.seconds == pytest.approx(0.25, rel=0.01)


def test_forgets_a_slow_day():
    pace = Pace(0.1)
    pace.observe(seconds=80, steps=8, images=1)
    after = pace.seconds
    for _ in range(10):
        pace.observe(seconds=0.8, steps=8, images=1)
    assert pace.seconds - 0.1 == pytest.approx((after - 0.1) * 0.8**10)
