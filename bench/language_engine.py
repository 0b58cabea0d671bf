"""What the language model makes of prompts: how often its words are used, why not, how long it takes, what it buys.

    nice python -m bench.language_engine [--prompts 200] [--pictures 40] [--json language_engine.json]

Starts a Triton of its own. Every prompt of bench/prompts/enhancement.txt is given to the second engine at RICH, which has
the mesh's own model choose among the lexicon's phrases, and then write phrases of its own, as an endpoint is asked to. For
a share of the prompts the house model draws the prompt as typed, as templates word it, and with what the model chose;
adherence is the house matcher's, to the prompt as typed. Twenty minutes on two cores.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.enhancement import PAINTER, PROMPTS, Studio, read
from services.local.bench.figures import quantile
from services.local.triton import Triton, TritonSettings
from services.models.build import build_repository
from services.models.presence import served_repository
from services.prompt.circuit import Circuit
from services.prompt.engines import FallBack
from services.prompt.enhancement import Asked, Enhanced, enhance
from services.prompt.language_engine import LanguageEngine
from services.prompt.lexicon import Lexicon, load
from services.prompt.meanings import Meanings
from services.prompt.styles import Level
from services.prompt.wording import Wording
from services.quality.matcher import MATCHER, TEXT, Matcher
from services.quality.settings import Settings as QualitySettings
from services.runtime.language_model.house import MODEL, House
from services.runtime.settings import default_home
from services.runtime.triton import TritonClient

SECONDS = 120.0
USED, NOTHING_OPEN = "used", "nothing open"
WAYS = ("chooses", "writes")


class Writer(House):
    """The mesh's own model, asked to write as an endpoint is."""

    @property
    def writes(self) -> bool:
        """True."""
        return True


class Closed(Circuit):
    """Asks again after every failure: each prompt counts here."""

    def admits(self) -> bool:
        """True."""
        return True


class Noting(Meanings):
    """Keeps how alike the last two texts were."""

    last: float | None = None

    async def alike(self, one: str, other: str) -> float | None:
        """Compare two texts."""
        self.last = await super().alike(one, other)
        return self.last


@dataclass(frozen=True)
class Result:
    """One prompt, given to the engine in one way; `outcome` is `used`, or why it was not."""

    way: str
    group: str
    prompt: str
    outcome: str
    enhanced: str
    seconds: float
    kept: bool
    likeness: float | None
    strange: float | None
    """The likeness to the prompt with another prompt behind it: what it is when the subject changes."""


@dataclass(frozen=True)
class Drawn:
    """A prompt's adherence in each wording."""

    prompt: str
    typed: float
    templates: float
    chosen: float


def asked_of(prompt: str, lexicon: Lexicon) -> Asked:
    """Return what a caller asks who names no style and no model, at RICH."""
    return Asked(prompt, "", None, False, Level.RICH, lexicon.dialects.of(""))


async def worded(
    way: str, engine: LanguageEngine, meanings: Noting, group: str, asked: Asked, other: str
) -> Result:
    """Give one prompt to the engine."""
    meanings.last = None
    began, outcome = time.perf_counter(), USED
    enhanced: Enhanced | None = None
    try:
        enhanced = await engine.enhance(asked)
        outcome = USED if enhanced else NOTHING_OPEN
    except FallBack as fallback:
        outcome = fallback.reason.name.lower().replace("_", " ")
    seconds = time.perf_counter() - began
    text = enhanced.prompt if enhanced else asked.prompt
    kept = Wording.of(asked.prompt).content <= Wording.of(text).content
    likeness = meanings.last
    strange = await meanings.alike(asked.prompt, f"{asked.prompt}, {other}")
    return Result(way, group, asked.prompt, outcome, text, seconds, kept, likeness, strange)


async def measure(
    home: Path, prompts: Sequence[tuple[str, str]], pictures: int
) -> tuple[list[Result], list[Drawn]]:
    """Word every prompt in both ways, then draw some."""
    models = (TEXT, MATCHER, PAINTER, MODEL)
    await asyncio.to_thread(build_repository, home, models)
    lexicon, results, drawn = load(), [], []
    with tempfile.TemporaryDirectory() as scratch:
        async with (
            Triton(TritonSettings(Path(scratch), served_repository(home), models)) as server,
            TritonClient(server.grpc_address) as triton,
        ):
            await server.wait_ready(SECONDS)
            meanings = Noting(["a picture"], triton, SECONDS)
            for way, model in zip(WAYS, (House(triton, None), Writer(triton, None)), strict=True):
                engine = LanguageEngine(model, lexicon, meanings, SECONDS, Closed())
                for place, (group, prompt) in enumerate(track(prompts, f"the model {way}")):
                    other = prompts[place - 1][1]
                    asked = asked_of(prompt, lexicon)
                    results.append(await worded(way, engine, meanings, group, asked, other))
            settings = QualitySettings.model_validate({"home": home})
            studio = Studio(triton, Matcher(triton, settings.calibration_path), 24, 7)
            used = [one for one in results if (one.way, one.outcome) == (WAYS[0], USED)]
            for one in track(used[:: max(1, len(used) // max(1, pictures))][:pictures], "drawing"):
                templates = enhance(asked_of(one.prompt, lexicon), lexicon).prompt
                wordings = (one.prompt, templates, one.enhanced)
                scores = [(await studio.scores(text, one.prompt))[0] for text in wordings]
                drawn.append(Drawn(one.prompt, *scores))
    return results, drawn


def table(results: Sequence[Result]) -> Table:
    """Lay out how often what came of it."""
    shown = Table(
        "the model", "prompts", "words used", "fallen back, by reason", "P50 s", "P95 s", "words kept"
    )
    for way in WAYS:
        own = [one for one in results if one.way == way]
        asked = [one.seconds for one in own if one.outcome != NOTHING_OPEN]
        reasons = Counter(one.outcome for one in own if one.outcome != USED)
        shown.add_row(
            way,
            str(len(own)),
            str(sum(one.outcome == USED for one in own)),
            ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()),
            f"{quantile(asked, 0.5):.2f}",
            f"{quantile(asked, 0.95):.2f}",
            f"{sum(one.kept for one in own)} of {len(own)}",
        )
    return shown


def gain(drawn: Sequence[Drawn], wording: str) -> str:
    """Return what a wording changes in adherence, paired by prompt, with the standard error of the mean."""
    found = [getattr(one, wording) - one.typed for one in drawn]
    return f"{statistics.mean(found):+.3f} ± {statistics.stdev(found) / len(found) ** 0.5:.3f}"


def main() -> None:
    """Read the arguments, measure, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=default_home(), help="where models are built")
    parser.add_argument("--prompts", type=int, default=200, help="every n-th, so that this many are left")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--json", type=Path, help="where every single result goes")
    arguments = parser.parse_args()
    prompts = read(PROMPTS)
    prompts = prompts[:: max(1, len(prompts) // arguments.prompts)]
    results, drawn = asyncio.run(measure(arguments.home, prompts, arguments.pictures))
    if arguments.json:
        everything = {
            "worded": [asdict(one) for one in results],
            "drawn": [asdict(one) for one in drawn],
        }
        arguments.json.write_text(json.dumps(everything, indent=1))
    console = Console(width=140)
    console.print(table(results))
    for told, found in (
        ("with what was added", [one.likeness for one in results if one.likeness is not None]),
        ("with another prompt behind it", [one.strange for one in results if one.strange is not None]),
    ):
        if found:
            quantiles = ", ".join(
                f"P{100 * share:.0f} {quantile(found, share):.2f}" for share in (0.01, 0.05, 0.5, 0.95)
            )
            console.print(f"likeness {told}: {quantiles}")
    if len(drawn) > 1:
        typed = statistics.mean(one.typed for one in drawn)
        console.print(
            f"adherence of {len(drawn)} as typed {typed:.3f}; templates {gain(drawn, 'templates')};", end=" "
        )
        console.print(f"what the model chose {gain(drawn, 'chosen')}")


if __name__ == "__main__":
    main()
