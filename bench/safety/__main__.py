"""Judge the labelled prompts and print the tables: `python -m bench.safety [--misses tune|report|fresh] [--triton ADDRESS]`.

A prompt counts as refused when the shipped policy blocks it, for whatever category: what matters to its author is whether
it was drawn. Rules were mended on both halves of the earlier prompts; `fresh.yaml` is what they are reported for. Disguises are laid over the
English prompts of a half, and recall is counted among those that are refused as they are. With Triton's gRPC address
(`vmesh up` prints it) the comparison with exemplars is measured, too, on prompts that neither rules nor exemplars have seen.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench.safety.disguises import DISGUISES
from bench.safety.labelled import FRESH, HARMLESS, LATER, REWORDED, Half, Labelled, load
from scrollintel.visual.v1 import safety_pb2, safety_pb2_grpc
from services.runtime.channels import connect
from services.runtime.server import serve
from services.runtime.triton import TritonClient
from services.safety.category import JUDGED, Action
from services.safety.policy import strongest
from services.safety.resemblance import Resemblance
from services.safety.rulebook import load_exemplars, load_policy, load_rules
from services.safety.service import spec
from services.safety.settings import Settings

ROUNDS = 3
MODEL_SECONDS = 10.0
NO_TRITON = "127.0.0.1:1"


class Judge:
    """The shipped rules and policy."""

    def __init__(self) -> None:
        self._rules = load_rules()
        self._policy, _ = load_policy()

    def refuses(self, text: str) -> bool:
        """Tell whether a prompt is refused."""
        return strongest(self._policy.judge(self._rules.check(text))) is Action.BLOCK

    async def resembles(self, address: str, texts: Iterable[str]) -> tuple[set[str], list[float]]:
        """Return the texts that are refused for what they resemble, and how long each took in milliseconds, rising."""
        refused, taken = set(), []
        async with (
            TritonClient(address) as triton,
            Resemblance(load_exemplars(), triton, MODEL_SECONDS) as resemblance,
        ):
            await resemblance.check("a first text, for the exemplars to be embedded")
            for text in texts:
                plain, started = self._rules.disguises.plain(text), time.perf_counter()
                signals = await resemblance.check(plain)
                taken.append(1000 * (time.perf_counter() - started))
                if strongest(self._policy.judge(signals)) is Action.BLOCK:
                    refused.add(text)
        return refused, sorted(taken)

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
    for label in (*JUDGED, *HARMLESS):
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


def of_unseen(judge: Judge, sets: Mapping[str, Sequence[Labelled]]) -> Table:
    """Tell what is refused of prompts that no rule was mended on; one that is refused for another category counts, too."""
    table = Table("refused", *sets)
    refused = {name: {each for each in prompts if judge.refuses(each.text)} for name, prompts in sets.items()}
    for label in (*JUDGED, *HARMLESS):
        groups = {name: {each for each in prompts if each.label == label} for name, prompts in sets.items()}
        cells = [ratio(len(group & refused[name]), len(group)) for name, group in groups.items()]
        table.add_row(label.replace("_", " "), *cells)
    unsafe = {name: {each for each in prompts if each.unsafe} for name, prompts in sets.items()}
    for what, whole in (("recall", unsafe), ("precision", refused)):
        cells = [ratio(len(unsafe[name] & refused[name]), len(whole[name])) for name in sets]
        table.add_row(what, *cells, style="bold")
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


def with_exemplars(
    judge: Judge, sets: Mapping[str, Sequence[Labelled]], address: str
) -> tuple[Table, list[float]]:
    """Tell what exemplars add to the rules in sets that neither has seen, and how long they take."""
    texts = [prompt.text for prompts in sets.values() for prompt in prompts]
    by_rules = {text for text in texts if judge.refuses(text)}
    alike, taken = asyncio.run(judge.resembles(address, texts))
    table = Table("refused", *(f"{name}, {by}" for name in sets for by in ("rules", "exemplars", "either")))
    wanted: dict[str, Callable[[Labelled], bool]] = {
        **{label: lambda prompt, label=label: prompt.label == label for label in (*JUDGED, *HARMLESS)},  # type: ignore[misc]
        "recall": lambda prompt: prompt.unsafe,
    }
    for label, belongs in wanted.items():
        cells = []
        for prompts in sets.values():
            group = [prompt for prompt in prompts if belongs(prompt)]
            counts = (sum(each.text in by for each in group) for by in (by_rules, alike, by_rules | alike))
            cells += [ratio(count, len(group)) for count in counts]
        table.add_row(label.replace("_", " "), *cells)
    return table, taken


def of_later(judge: Judge, prompts: Sequence[Labelled]) -> Table:
    """Tell what is refused of prompts in other languages that were written after their rules."""
    table = Table("written later", "unsafe", "look-alikes")
    for language in (*sorted({prompt.language for prompt in prompts}), "all"):
        group = [prompt for prompt in prompts if language in (prompt.language, "all")]
        cells = []
        for unsafe in (True, False):
            refused = [judge.refuses(prompt.text) for prompt in group if prompt.unsafe is unsafe]
            cells.append(ratio(sum(refused), len(refused)))
        table.add_row(language, *cells)
    return table


async def calls(texts: Sequence[str], triton: str) -> list[float]:
    """Return how long CheckPrompt takes over gRPC for each text, in milliseconds, rising; compares where there is a Triton."""
    taken = []
    with TemporaryDirectory() as home:
        settings = Settings.model_validate(
            {"home": home, "exemplars": bool(triton), "triton_address": triton or NO_TRITON}
        )
        async with serve(spec(settings)) as server, connect(server.address) as channel:
            stub = safety_pb2_grpc.SafetyServiceStub(channel)
            for text in ("a first text", *texts):
                started = time.perf_counter()
                await stub.CheckPrompt(safety_pb2.CheckPromptRequest(prompt=text), timeout=MODEL_SECONDS)
                taken.append(1000 * (time.perf_counter() - started))
    return sorted(taken[1:])


def told(what: str, taken: Sequence[float]) -> str:
    """Write how long something takes; `taken` rises."""
    return f"{what}, one prompt: {statistics.median(taken):.1f} ms at P50, {taken[int(0.99 * len(taken))]:.1f} at P99"


def misses(judge: Judge, prompts: Sequence[Labelled]) -> Table:
    """List what was judged wrongly."""
    table = Table("wrong", "label", "language", "prompt")
    for prompt in prompts:
        if judge.refuses(prompt.text) != prompt.unsafe:
            table.add_row(
                "let pass" if prompt.unsafe else "refused", prompt.label, prompt.language, prompt.text
            )
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", choices=[*Half, "fresh"], help="list what was judged wrongly")
    parser.add_argument("--triton", help="gRPC address of a Triton that serves text_embedding")
    given = parser.parse_args()
    console, judge, prompts = Console(width=130), Judge(), load()
    console.print(by_label(judge, prompts), by_disguise(judge, prompts))
    unseen = {"fresh": load(FRESH), "reworded": load(REWORDED)}
    console.print(of_unseen(judge, unseen))
    console.print(of_later(judge, load(LATER)))
    texts = [prompt.text for prompt in prompts]
    console.print(told("rules alone", judge.milliseconds(texts)))
    console.print(told("CheckPrompt over gRPC", asyncio.run(calls(texts, ""))))
    if given.triton:
        table, taken = with_exemplars(judge, unseen, given.triton)
        console.print(table)
        console.print(told("exemplars alone", taken))
        console.print(told("CheckPrompt with exemplars", asyncio.run(calls(texts, given.triton))))
    if given.misses:
        fresh = given.misses == "fresh"
        console.print(misses(judge, load(FRESH) if fresh else [p for p in prompts if p.half == given.misses]))


if __name__ == "__main__":
    main()
