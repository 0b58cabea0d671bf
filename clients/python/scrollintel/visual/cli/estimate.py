"""What `vmesh generate --estimate` says: who could draw, and what it may come to."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scrollintel.visual.cli.wording import counted
from scrollintel.visual.estimate import Estimate
from scrollintel.visual.events import Candidate


def tell(estimate: Estimate, *, as_json: bool) -> None:
    """Print an estimate: a row for each candidate, the refused with why, and the most that it comes to."""
    if as_json:
        sys.stdout.write(json.dumps(_as_json(estimate), indent=2) + "\n")
        return
    table = Table("backend", "score", "quality", "seconds", "cost", box=None, header_style="dim")
    for one in estimate.candidates:
        table.add_row(one.backend, *_row(one))
    console = Console()
    console.print(table)
    console.print(_most(estimate))


def _row(one: Candidate) -> tuple[str, ...]:
    if one.refusal:
        return ("", "", "", f"[dim]{escape(one.refusal)}[/]")
    return (
        f"{one.score:.2f}",
        f"{one.predicted_quality:.2f}",
        f"{one.predicted_seconds:.1f}",
        f"${one.predicted_cost_usd:.4g}",
    )


def _most(estimate: Estimate) -> str:
    if estimate.most_seconds is None:
        return "nobody can draw it"
    cost = "an unknown price" if estimate.most_cost_usd is None else f"${estimate.most_cost_usd:.4g}"
    drawings = counted(estimate.most_drawings, "drawing")
    return f"at most {drawings}, {estimate.most_seconds:.1f} s of drawing, {cost}"


def _as_json(estimate: Estimate) -> dict[str, Any]:
    return {
        "most_drawings": estimate.most_drawings,
        "most_cost_usd": estimate.most_cost_usd,
        "most_seconds": estimate.most_seconds,
        "candidates": [
            {
                "backend": one.backend,
                "model": one.model,
                "refusal": one.refusal,
                "score": one.score,
                "quality": one.predicted_quality,
                "seconds": one.predicted_seconds,
                "cost_usd": one.predicted_cost_usd,
            }
            for one in estimate.candidates
        ],
    }
