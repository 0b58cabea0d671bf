"""Simulate the day and print the tables: `python -m bench.routing_day [--requests 40000] [--seed 1] [--plots docs/images]`.

Every policy sees the same requests with the same luck. `regret` is what a decision gave away in expected utility against
the best decision at that moment, as only the oracle knows it; utility is the objective's own weights over quality, speed
and cost (router/weights.yaml, without headroom, which is no goal of a caller).
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.routing_day.day import Day, Decided, Policy, Utility
from bench.routing_day.learned import Learned, prediction_errors, recovery
from bench.routing_day.rules import Cheapest, LeastLoaded, Oracle, RoundRobin, StaticPriority
from bench.routing_day.world import BACKENDS, SECONDS_NOISE, SLOWDOWN, SLOWDOWN_AT, requests
from router.decision import Policy as Weights
from router.demand import Objective
from router.policy import load_policy
from router.settings import WEIGHTS_FILE

OURS, ORACLE = "this router", "oracle"
MOMENTS = (50, 500, 5000)
HELD_OUT = 500
WITHIN = 0.25  # a prediction this close counts as recovered


def utility_of(weights: Weights) -> Utility:
    """Return what a result is worth by the configured weights and scales."""
    scales = weights.scales
    goals = {
        objective: {name: weight for name, weight in by_name.items() if name != "headroom"}
        for objective, by_name in weights.weights.items()
    }
    totals = {objective: sum(by_name.values()) for objective, by_name in goals.items()}

    def utility(objective: Objective, quality: float, seconds: float, usd: float) -> float:
        goal = goals[objective]
        latency = scales.half_score_seconds / (scales.half_score_seconds + seconds)
        cost = scales.half_score_usd / (scales.half_score_usd + usd)
        worth = goal["quality"] * quality + goal["latency"] * latency + goal["cost"] * cost
        return worth / totals[objective]

    return utility


def policies(weights: Weights, seed: int) -> dict[str, Callable[[], Policy]]:
    """Return what makes each policy."""
    return {
        OURS: lambda: Learned(BACKENDS, weights, seed),
        "never exploring": lambda: Learned(BACKENDS, weights),
        "never learning": lambda: Learned(BACKENDS, weights, learns=False),
        "least-loaded": LeastLoaded,
        "round-robin": lambda: RoundRobin(BACKENDS),
        "static-priority": lambda: StaticPriority(BACKENDS),
        "cheapest": Cheapest,
        ORACLE: Oracle,
    }


def play(count: int, seed: int) -> dict[str, list[Decided]]:
    """Play the day once for each policy."""
    weights = load_policy(WEIGHTS_FILE)
    days = {}
    for name, make in track(policies(weights, seed).items(), description="playing the day"):
        policy = make()
        day = Day(BACKENDS, policy, utility_of(weights))
        if isinstance(policy, Oracle):
            policy.day = day
        days[name] = day.play(requests(count, seed))
    return days


def table_of(days: dict[str, list[Decided]]) -> Table:
    """Return what each policy came to, the best first."""
    table = Table(
        "policy", "regret", "last hour's", "utility", "quality", "mean s", "P95 s", "usd a day", title="A day"
    )
    for name, day in sorted(days.items(), key=lambda item: -_mean([one.utility for one in item[1]])):
        seconds = sorted(one.seconds for one in day)
        last = [one.regret for one in day if one.at > 23 * 3600]
        table.add_row(
            name,
            f"{_mean([one.regret for one in day]):.4f}",
            f"{_mean(last):.4f}",
            f"{_mean([one.utility for one in day]):.4f}",
            f"{_mean([one.quality for one in day]):.3f}",
            f"{_mean(seconds):.1f}",
            f"{seconds[math.floor(0.95 * len(seconds))]:.1f}",
            f"{sum(one.usd for one in day):.0f}",
        )
    return table


def errors_table(seed: int) -> Table:
    """Return how wrong the predicted seconds are after so many runs, and how soon a change of pace is believed."""
    table = Table(
        "backend",
        *(f"after {moment:,}" for moment in MOMENTS),
        f"{SLOWDOWN:g} × slower: runs until within {WITHIN:.0%}",
        title="Mean relative error of predicted seconds, against the true mean",
    )
    for truth in BACKENDS:
        errors = prediction_errors(truth, requests(10**6, seed + 1), MOMENTS, HELD_OUT)
        runs = recovery(truth, requests(10**6, seed + 2), SLOWDOWN, WITHIN)
        table.add_row(truth.name, *(f"{error:.1%}" for _, error in errors), str(runs))
    return table


def slowdown_table(days: dict[str, list[Decided]]) -> Table:
    """Return the regret around the moment at which one of the best becomes slower."""
    spans = ((-60, 0), (0, 5), (5, 15), (15, 60), (60, 180))
    heads = [f"{begin} to {end} min" for begin, end in spans]
    table = Table("policy", *heads, title="Mean regret around 14:00, when own/large-a becomes 3 × slower")
    for name, day in days.items():
        row = []
        for begin, end in spans:
            within = [one.regret for one in day if begin * 60 <= one.at - SLOWDOWN_AT < end * 60]
            row.append(f"{_mean(within):.4f}")
        table.add_row(name, *row)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Play, print, and draw where asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.routing_day", description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000, help="requests of the day, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plots", type=Path, help="folder for the plots")
    asked = parser.parse_args(arguments)
    console = Console(width=130)
    began = time.perf_counter()
    days = play(asked.requests, asked.seed)
    console.print(f"{len(days[OURS]):,} requests, seed {asked.seed}, noise of seconds {SECONDS_NOISE:.0%}")
    for table in (table_of(days), slowdown_table(days), errors_table(asked.seed)):
        console.print(table)
    if asked.plots:
        from bench.routing_day import plots  # matplotlib takes half a second

        plots.draw(days, asked.plots)
    console.print(f"{time.perf_counter() - began:.0f} s")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


if __name__ == "__main__":
    main()
