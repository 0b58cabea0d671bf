"""Judge the labelled prompts and print the tables: `python -m bench.safety [--misses tune|report]`.

A prompt counts as refused when the shipped policy blocks it, for whatever category: what matters to its author is whether
it was drawn. Precision and recall are told for both halves; only the first may be tuned on. Disguises are laid over the
English prompts of a half, and recall is counted among those that are refused as they are.
"""

import argparse
import statistics
import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from bench.safety.disguises import DISGUISES
from bench.safety.labelled import HARMLESS, Half, Labelled, load
from services.safety.category import Action, Category
from services.safety.policy import strongest
from services.safety.rulebook import load_policy, load_rules

ROUNDS = 3


class Judge:
    """The shipped rules and policy."""

    def __init__(self) -> None:
        self._rules = load_rules()
        self._policy, _ = load_policy()

    def refuses(self, text: str) -> bool:
        """Tell whether a prompt is refused."""
        return strongest(self._policy.judge(self._rules.check(text))) is Action.BLOCK

    def milliseconds(self, texts: Iterable[str]) -> list[float]:
        """Return how long each text takes to judge, the best of a few rounds, in rising order."""
        return sorted(min(self._timed(text) for _ in range(ROUNDS)) for text in texts)

    def _timed(self, text: str) -> float:
        started = time.perf_counter()
        self.refuses(text)
        return 1000 * (time.perf_counter() - started)


def ratio(part: int, whole: int) -> str:
    """Write a share with what it is of."""
    return f"{part / whole:.0%} ({part} of {whole})" if whole else "-"


def by_label(judge: Judge, prompts: Sequence[Labelled]) -> Table:
    """Tell what is refused of each label, in English and in other languages, in both halves."""
    table = Table("refused", *(f"{half}, {tongue}" for half in Half for tongue in ("English", "others")))
    refused = {prompt for prompt in prompts if judge.refuses(prompt.text)}
    for label in (*Category, *HARMLESS):
        cells = []
        for half in Half:
            for english in (True, False):
                group = [p for p in prompts if (p.label, p.half) == (label, half)]
                group = [p for p in group if (p.language == "en") is english]
                cells.append(ratio(sum(p in refused for p in group), len(group)))
        table.add_row(label.replace("_", " "), *cells)
    for name, wanted in (("recall", True), ("precision", False)):
        cells = []
        for half in Half:
            for english in (True, False):
                of_both = {p for p in prompts if p.half is half and (p.language == "en") is english}
                unsafe, caught = {p for p in of_both if p.unsafe}, of_both & refused
                cells.append(ratio(len(caught & unsafe), len(unsafe if wanted else caught)))
        table.add_row(name, *cells, style="bold")
    return table


def by_disguise(judge: Judge, prompts: Sequence[Labelled]) -> Table:
    """Tell what is still refused under each disguise, and what of the harmless is refused for wearing it."""
    table = Table("disguise", *(f"{half}, {what}" for half in Half for what in ("unsafe", "harmless")))
    english = [prompt for prompt in prompts if prompt.language == "en"]
    refused = {prompt for prompt in english if prompt.unsafe and judge.refuses(prompt.text)}
    for name, disguise in DISGUISES.items():
        cells = []
        for half in Half:
            for group in (refused, {prompt for prompt in english if not prompt.unsafe}):
                texts = [disguise(prompt.text) for prompt in group if prompt.half is half]
                cells.append(ratio(sum(map(judge.refuses, texts)), len(texts)))
        table.add_row(name, *cells)
    return table


def misses(judge: Judge, prompts: Sequence[Labelled], half: Half) -> Table:
    """List what was judged wrongly in a half."""
    table = Table("wrong", "label", "language", "prompt")
    for prompt in prompts:
        if prompt.half is half and judge.refuses(prompt.text) != prompt.unsafe:
            table.add_row(
                "let pass" if prompt.unsafe else "refused", prompt.label, prompt.language, prompt.text
            )
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", type=Half, choices=list(Half), help="list what was judged wrongly")
    given = parser.parse_args()
    console, judge, prompts = Console(width=130), Judge(), load()
    console.print(by_label(judge, prompts), by_disguise(judge, prompts))
    taken = judge.milliseconds(prompt.text for prompt in prompts)
    p50, p99 = statistics.median(taken), taken[int(0.99 * len(taken))]
    console.print(f"rules alone, one prompt: {p50:.1f} ms at P50, {p99:.1f} ms at P99")
    if given.misses:
        console.print(misses(judge, prompts, given.misses))


if __name__ == "__main__":
    main()
