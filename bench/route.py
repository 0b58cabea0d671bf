"""How long a routing decision takes: `python bench/route.py`.

One decision is filter, score, sort and explain over a snapshot of n backends, a tenth of them refused; the target is
0.2 ms for 100 of them. `plain` is a request with a prompt and a deadline, as all have them; `bounded` is one that asks for
all that filters look at: steps, several images, a source picture, a tenant's policy and a budget too. The snapshot is
taken outside the clock, as the fleet keeps it ready. `pick` is Thompson's draw among the candidates, when there is much to
give up.
"""

import gc
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from router.decision import decide
from router.demand import Demand, Modality, Tier
from router.exploration import Explorer
from router.learning.quality import Quality
from router.learning.seconds import Pace, Prior
from router.policy import load_policy
from router.price import Price
from router.runs import Work
from router.settings import WEIGHTS_FILE
from router.sizes import Size
from router.snapshot import BackendView, Snapshot, State

SIZES = (1, 10, 100, 1000)
ROUNDS = 2000
PLAIN = Demand(prompt_length=80, time_limit=60.0)
BOUNDED = Demand(
    steps=30,
    images=2,
    prompt_length=400,
    edits=True,
    noncommercial=False,
    allowed=frozenset(f"model_{index}" for index in range(max(SIZES) + 1)),
    max_usd=1.0,
    time_limit=60.0,
)


def backend(index: int) -> BackendView:
    """Return one of many backends, each with some runs behind it; every tenth does not answer."""
    size = Size(1024, 1024)
    pace = Pace(Prior(0.24 * (1 + index % 7), Work(24, 1.048576, 1)))
    for steps in (12, 24, 48):
        pace.observe(Work(steps, 1.048576, 1), beside=index % 2, seconds=0.01 * steps)
    return BackendView(
        name=f"triton/model_{index}",
        model=f"model_{index}",
        modality=Modality.TEXT_TO_IMAGE,
        state=State.READY if index % 10 else State.UNAVAILABLE,
        steps_by_tier=dict.fromkeys(Tier, 24),
        guidance_scale=2.5,
        max_steps=100,
        max_images=16,
        concurrency=2,
        queue=16,
        allowance=2,
        forecast=pace.forecast,
        quality=Quality((index % 11) / 11).view,
        price=Price(0.001 * (index % 5)),
        max_prompt=1000,
        sizes=(size, Size(1024, 1536), Size(1536, 1024)),
        edits=True,
        paid=index % 5 > 0,
        external=index % 5 > 0,
        in_flight=index % 3,
        waiting=max(0, index % 3 - 1),
        call_seconds=1.0,
    )


def measure(body: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the best, the 50th and the 99th percentile of the milliseconds of `rounds` calls."""
    milliseconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        body()
        milliseconds.append((time.perf_counter() - started) * 1e3)
    percentiles = statistics.quantiles(milliseconds, n=100)
    return min(milliseconds), percentiles[49], percentiles[98]


def main() -> None:
    """Measure and print the table."""
    gc.collect()
    policy = load_policy(WEIGHTS_FILE)
    explorer, rng = Explorer(policy), random.Random(0)
    table = Table("backends", "what", "best ms", "P50 ms", "P99 ms")
    for count in SIZES:
        rounds = ROUNDS if count <= 100 else ROUNDS // 10
        snapshot = Snapshot(tuple(backend(index) for index in range(1, count + 1)))
        for name, demand in (("plain", PLAIN), ("bounded", BOUNDED)):
            figures = measure(partial(decide, demand, snapshot, policy), rounds)
            table.add_row(str(count), name, *(f"{figure:.4f}" for figure in figures))
        figures = measure(partial(explorer.pick, decide(PLAIN, snapshot, policy), rng), rounds)
        table.add_row(str(count), "pick", *(f"{figure:.4f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
