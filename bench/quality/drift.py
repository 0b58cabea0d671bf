"""How soon drift is found, and how often where there is none: `python -m bench.quality.drift`."""

import random
import statistics

from rich.console import Console
from rich.table import Table

from services.quality.drift import BASELINE, Chart, State

DRAWS, MOST = 300, 1000
MEAN, DEVIATION = 0.8, 0.05


def delay(shift: float, seed: int) -> int:
    """Return after how many normal scores, `shift` deviations off the baseline's, there is an alarm; MOST + 1 for none."""
    rng = random.Random(seed)
    chart = Chart()
    for _ in range(BASELINE):
        chart.add(rng.gauss(MEAN, DEVIATION))
    for count in range(1, MOST + 1):
        if chart.add(rng.gauss(MEAN + shift * DEVIATION, DEVIATION)) in (State.LOW, State.HIGH):
            return count
    return MOST + 1


def main() -> None:
    """Measure and print the table."""
    table = Table("shift, deviations", "median", "nine of ten within", "alarm within 100", f"within {MOST:,}")
    for shift in (0.0, 1.0, 2.0, 3.0):
        delays = [delay(shift, seed) for seed in range(DRAWS)]
        shares = [sum(one <= limit for one in delays) / DRAWS for limit in (100, MOST)]
        figures = [statistics.median(delays), statistics.quantiles(delays, n=10)[8]]
        told = ["never" if figure > MOST else f"{figure:.0f}" for figure in figures]
        table.add_row(f"{shift:g}", *told, *(f"{share:.0%}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
