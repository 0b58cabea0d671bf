"""The plots of the day: regret as it adds up, and who got the requests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from bench.routing_day.day import Decided
from bench.routing_day.world import BACKENDS, SLOWDOWN_AT

HOUR = 3600.0
OURS = "this router"


def draw(days: Mapping[str, Sequence[Decided]], folder: Path) -> None:
    """Write `routing-regret.png` and `routing-shares.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _regret(days, folder / "routing-regret.png")
    _shares(days[OURS], folder / "routing-shares.png")


def _regret(days: Mapping[str, Sequence[Decided]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, day in days.items():
        total = list(accumulate(one.regret for one in day))
        if total[-1]:
            axes.plot(
                [one.at / HOUR for one in day], total, label=name, linewidth=2.5 if name == OURS else 1.2
            )
    axes.axvline(SLOWDOWN_AT / HOUR, color="grey", linestyle=":", label="own/large-a becomes 3 × slower")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.5)
    axes.set(xlabel="hour of the day", ylabel="regret so far (utility, log)", xlim=(0, 24))
    axes.set_xticks(range(0, 25, 3))
    axes.legend(loc="upper left", fontsize=7, ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _shares(day: Sequence[Decided], path: Path) -> None:
    """Draw what share of each half hour's requests every backend got."""
    slots = 48
    counts = [Counter[str]() for _ in range(slots)]
    for one in day:
        counts[min(slots - 1, int(one.at / HOUR * 2))][one.backend] += 1
    hours = [slot / 2 for slot in range(slots)]
    shares = [[count[truth.name] / max(1, count.total()) for count in counts] for truth in BACKENDS]
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.stackplot(hours, shares, labels=[truth.name for truth in BACKENDS])
    axes.axvline(SLOWDOWN_AT / HOUR, color="black", linestyle=":")
    axes.set(xlabel="hour of the day", ylabel="share of requests", xlim=(0, 23.5), ylim=(0, 1))
    axes.legend(loc="lower left", fontsize=8, ncols=2)
    figure.savefig(path, dpi=110)
    plt.close(figure)
