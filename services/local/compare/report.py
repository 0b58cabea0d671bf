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


def of_one_prompt(outcomes: Sequence[Outcome]) -> Table:
    """Return a table with a row for each model; one that failed says why."""
    told = ("overall", "technical", "prompt_adherence", "seconds", "cost_usd")
    table = _table("model", *told, "backend", "seed", "asset, or why there is none")
    for outcome in outcomes:
        figures = [_number(name, outcome.figure(name)) for name in told]
        seed = NOT_MEASURED if outcome.seed is None else str(outcome.seed)
        last = f"[red]{escape(why(outcome.error))}[/]" if outcome.error else escape(outcome.asset)
        table.add_row(
            f"[cyan]{escape(outcome.model)}[/]", *figures, escape(outcome.backend) or NOT_MEASURED, seed, last
        )
    return table


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
    """Return everything that was found; what was not measured is absent."""
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
                **{name: asdict(found) for name, found in summary.figures.items()},
            }
            for summary in summaries
        ],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    told = {
        "model": outcome.model,
        "generation": outcome.generation,
        "backend": outcome.backend,
        "asset": outcome.asset,
        "seed": outcome.seed,
        "seconds": outcome.seconds,
        "cost_usd": outcome.cost_usd,
        "quality": {name: round(value, 4) for name, value in outcome.scores.items()},
        "path": str(outcome.path) if outcome.path else None,
        "error": failures.as_json(outcome.error) if outcome.error else None,
    }
    return {key: value for key, value in told.items() if value not in (None, "", {})}


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        numbers = column in COMPARED or column in ("made", "seed")
        heading = HEADINGS.get(column, column)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold", no_wrap=numbers)
    return table


def _number(name: str, value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    sign = "$" if name == "cost_usd" else ""
    return f"{sign}{value:.{_digits(name)}f}"


def _spread(name: str, found: Spread | None) -> str:
    if found is None:
        return NOT_MEASURED
    mean = _number(name, found.mean)
    return mean if found.deviation is None else f"{mean} ± {found.deviation:.{_digits(name)}f}"


def _digits(name: str) -> int:
    return 2 if name in SCORES else DIGITS[name]
