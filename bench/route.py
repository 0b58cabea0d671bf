"""How long a routing decision takes: `python bench/route.py`.

One decision is filter, score, sort and explain over a snapshot of n backends, a tenth of them refused; the target is
0.2 ms for 100 of them. The snapshot is taken outside the clock, as the fleet keeps it ready.
"""

import gc
import statistics
import time

from rich.console import Console
from rich.table import Table

from router.decision import decide, pick
from router.demand import Demand, Modality, Tier
from router.policy import load_policy
from router.settings import WEIGHTS_FILE
from router.snapshot import BackendView, Snapshot, State

SIZES = (1, 10, 100, 1000)
ROUNDS = 2000


def backend(index: int) -> BackendView:
    """Return one of many backends; every tenth does not answer."""
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
        pace=0.01 * (1 + index % 7),
        quality=(index % 11) / 11,
        price=0.001 * (index % 5),
        in_flight=index % 3,
        waiting=max(0, index % 3 - 1),
        call_seconds=1.0,
    )


def measure(count: int, rounds: int) -> list[float]:
    """Return the seconds of each of `rounds` decisions among `count` backends, sorted."""
    policy = load_policy(WEIGHTS_FILE)
    snapshot = Snapshot(tuple(backend(index) for index in range(1, count + 1)))
    demand = Demand()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        chosen = pick(decide(demand, snapshot, policy))
        seconds.append(time.perf_counter() - started)
        assert chosen is not None
    return sorted(seconds)


def main() -> None:
    """Measure and print the table."""
    gc.collect()
    table = Table("backends", "best ms", "P50 ms", "P99 ms")
    for count in SIZES:
        seconds = measure(count, ROUNDS if count <= 100 else ROUNDS // 10)
        percentiles = statistics.quantiles(seconds, n=100)
        row = (seconds[0], percentiles[49], percentiles[98])
        table.add_row(str(count), *(f"{value * 1e3:.4f}" for value in row))
    Console().print(table)


if __name__ == "__main__":
    main()
