"""Until when a provider wants to be left alone, as its headers say it."""

import pytest

from router.rate_limit import MAX_SECONDS, RateLimit, wait_told

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0),
        (
            {"retry-after": "Fri, 15 Jan 2027 08:00:30 -0000"},
            30,
        ),  # without a zone: not in that of this machine
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "99999999"}, MAX_SECONDS),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "6m0s"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, 12),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW) + 9)}, 9),
        ({"x-ratelimit-remaining-images": "0"}, None),
        ({"retry-after": "1", "x-ratelimit-remaining-images": "0", "x-ratelimit-reset-images": "1m2s"}, 62),
    ],
)
def test_headers_say_how_long_to_wait(headers, seconds):
    assert wait_told(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_the_wait_runs_out_and_a_shorter_one_does_not_cut_it_off():
    time = [100.0]
    limit = RateLimit(clock=lambda: time[0], now=lambda: NOW)
    assert limit.wait() == 0
    assert limit.read(429, {"retry-after": "5"}) == 5
    limit.read(429, {"retry-after": "1"})
    assert limit.wait() == 5
    time[0] += 5.5
    assert limit.wait() == 0


def test_a_429_without_words_asks_for_a_wait_and_a_success_without_them_for_none():
    limit = RateLimit(clock=lambda: 0.0, now=lambda: NOW)
    assert limit.read(200, {}) is None
    assert limit.wait() == 0
    assert limit.read(202, {"retry-after": "60"}) is None  # when to look at a job again
    assert limit.read(202, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0.5"}) == 0.5
    assert limit.read(429, {}) == 1
    assert limit.wait() == 1
