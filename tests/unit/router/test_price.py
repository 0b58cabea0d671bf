"""What a request costs, reckoned from the data of its backend."""

import math
from pathlib import Path

import pytest

from router.demand import Tier
from router.entries import load_entries
from router.price import Price, Tokens, Unit
from router.settings import BACKENDS_FILE
from router.sizes import Size

SQUARE, WIDE = Size(1024, 1024), Size(1536, 1024)
TABLE = Price(
    by_size={
        SQUARE: {Tier.DRAFT: 0.01, Tier.STANDARD: 0.04, Tier.HIGH: 0.17},
        WIDE: {Tier.DRAFT: 0.02, Tier.STANDARD: 0.06, Tier.HIGH: 0.25},
    }
)


@pytest.mark.parametrize(
    ("price", "size", "images", "tier", "duration", "usd"),
    [
        (Price.FREE, SQUARE, 4, Tier.HIGH, 0.0, 0.0),
        (Price(0.05), SQUARE, 3, Tier.HIGH, 0.0, 0.15),
        (TABLE, SQUARE, 2, Tier.STANDARD, 0.0, 0.08),
        (TABLE, WIDE, 1, Tier.HIGH, 0.0, 0.25),
        (TABLE, Size(8, 8), 1, Tier.DRAFT, 0.0, 0.02),  # the dearest: a guess must not be too cheap
        (Price(0.12, Unit.SECOND), WIDE, 1, Tier.DRAFT, 5.0, 0.6),
        (Price.UNKNOWN, SQUARE, 1, Tier.DRAFT, 0.0, math.inf),
    ],
)
def test_what_it_costs(price, size, images, tier, duration, usd):
    assert price.usd(size, images, tier, duration) == pytest.approx(usd)


def test_free_known_and_range():
    assert (Price.FREE.free, Price.FREE.known) == (True, True)
    assert (Price.UNKNOWN.free, Price.UNKNOWN.known) == (False, False)
    assert (TABLE.free, TABLE.known) == (False, True)
    assert TABLE.range() == (0.01, 0.25)
    assert Price(0.1).range() == (0.1, 0.1)


def test_tokens_tell_what_a_call_cost():
    assert Tokens(5, 8, 30).usd(1000, 2000, 1756) == pytest.approx(0.005 + 0.016 + 0.05268)


def test_own_models_are_free_unless_their_file_says_otherwise(tmp_path: Path):
    assert load_entries(BACKENDS_FILE)[0].pricing() == Price.FREE
    path = tmp_path / "backends.yaml"
    path.write_text(BACKENDS_FILE.read_text().replace("    on_demand", "    #") + "    price_usd: 0.002\n")
    assert load_entries(path)[0].pricing() == Price(0.002)
