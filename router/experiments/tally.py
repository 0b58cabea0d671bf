"""What the requests of an arm came to. Pure."""

from dataclasses import dataclass

from router.experiments.sequential import Sums

NOTHING = Sums(0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Tally:
    """An arm's requests that ended, by unit.

    `failed` and `unsafe` hold a 1 for each request that failed or of which the safety check refused a picture, and a 0
    for each other. The rest holds what was measured of requests that did not fail: overall quality in [0, 1], seconds,
    US dollars, ratings 1 to 5.
    """

    failed: Sums = NOTHING
    unsafe: Sums = NOTHING
    quality: Sums = NOTHING
    seconds: Sums = NOTHING
    cost: Sums = NOTHING
    rating: Sums = NOTHING
