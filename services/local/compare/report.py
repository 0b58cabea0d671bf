"""A comparison in words: a table for people, and everything for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from scrollintel.visual.cli import failures
from services.local.compare.drawing import Asking
from services.local.compare.figures import COMPARED, SCORES, Outcome, Spread, Summary
from services.local.compare.prompts import Prompt
from services.local.compare.sheet import why

NOT_MEASURED = "–"
HEADINGS: Mapping[str, str] = {
    "overall": "quality",
    "prompt_adherence": "adherence",
    "cost_usd": "cost",
}
DIGITS: Mapping[str, int] = {"seconds": 1, "cost_usd": 4}  # after the point; scores have two


def of_one_prompt(outcomes: Sequence[Outcome], *, narrow: bool) -> Table:
    """Return a table with a row for each model; a narrow one does without the backends."""
    told = ("overall", "technical", "prompt_adherence", "seconds", "cost_usd")
    table = _table("model", *told, "seed", "asset", *(() if narrow else ("backend",)))
    for outcome in outcomes:
        figures = [_figure(name, outcome) for name in told]
        seed = NOT_MEASURED if outcome.seed is None else str(outcome.seed)
        asset = "[red]failed[/]" if outcome.error else escape(outcome.asset)
        backend = () if narrow else (escape(outcome.backend) or NOT_MEASURED,)
        table.add_row(f"[cyan]{escape(outcome.model)}[/]", *figures, seed, asset, *backend)
    return table


def failures_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line in rich markup for each failure: the model, the prompt's name, and why."""
    return [
        f"[red]failed[/] [cyan]{escape(each.model)}[/] at {escape(each.prompt)}: {escape(why(each.error))}"
        for each in outcomes
        if each.error is not None
    ]


def of_many(summaries: Sequence[Summary]) -> Table:
    """Return a table with a row for each model: mean ± standard deviation over the pictures that it made."""
    measured = [name for name in COMPARED if any(name in summary.figures for summary in summaries)]
    table = _table("model", "made", *measured)
    for summary in summaries:
        figures = [_spread(name, summary.figures.get(name)) for name in measured]
        table.add_row(f"[cyan]{escape(summary.model)}[/]", f"{summary.made}/{summary.asked}", *figures)
    return table


def as_json(
    prompts: Sequence[Prompt],
    outcomes: Sequence[Outcome],
    summaries: Sequence[Summary],
    asking: Asking,
    machine: Mapping[str, Any],
    measured_at: str,
) -> dict[str, Any]:
    """Return everything that was found, the pictures by their files' names; what was not measured is absent."""
    image = {field: value for field, value in asking.image.items() if value is not None}
    return {
        "measured_at": measured_at,
        "machine": dict(machine),
        "models": list(asking.models),
        "in_turn": asking.in_turn,
        "request": image,
        "prompts": [
            {
                "name": prompt.name,
                "prompt": prompt.text,
                "results": [_outcome(each) for each in outcomes if each.prompt == prompt.name],
            }
            for prompt in prompts
        ],
        "means": [
            {
                "model": summary.model,
                "made": summary.made,
                "asked": summary.asked,
                **{name: _rounded(found) for name, found in summary.figures.items()},
            }
            for summary in summaries
        ],
    }


def _rounded(found: Spread) -> dict[str, float | int | None]:
    return {
        name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(found).items()
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    told = {
        "model": outcome.model,
        "generation": outcome.generation,
        "backend": outcome.backend,
        "asset": outcome.asset,
        "seed": outcome.seed,
        "seconds": None if outcome.seconds is None else round(outcome.seconds, 3),
        "cold": outcome.cold or None,
        "cost_usd": outcome.cost_usd,
        "quality": {name: round(value, 4) for name, value in outcome.scores.items()},
        "file": outcome.path.name if outcome.path else None,
        "error": failures.as_json(outcome.error) if outcome.error else None,
    }
    return {key: value for key, value in told.items() if value not in (None, "", {})}


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        numbers = column in COMPARED or column in ("made", "seed")
        heading = HEADINGS.get(column, column)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold", no_wrap=True)
    return table


def _figure(name: str, outcome: Outcome) -> str:
    number = _number(name, outcome.figure(name))
    return number if name != "seconds" or not outcome.cold else f"{number} [dim]cold[/]"


def _number(name: str, value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    if name == "cost_usd":
        return f"${value:.{_digits(name)}f}" if value else "$0"
    return f"{value:.{_digits(name)}f}"


def _spread(name: str, found: Spread | None) -> str:
    if found is None:
        return NOT_MEASURED
    mean = _number(name, found.mean)
    return f"{mean} ± {found.deviation:.{_digits(name)}f}" if found.deviation else mean


def _digits(name: str) -> int:
    return 2 if name in SCORES else DIGITS[name]
