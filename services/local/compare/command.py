"""The command: a mesh, the comparison, and what came of it as a table, a contact sheet and a file."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from scrollintel.visual import VisualClient
from scrollintel.visual.cli import failures, mesh
from scrollintel.visual.exceptions import VisualMeshError
from services.local import model_table
from services.local.bench.command import machine
from services.local.compare import drawing, figures, report, sheet
from services.local.compare.board import Board
from services.local.compare.drawing import Asking
from services.local.compare.figures import Outcome
from services.local.compare.job import Job, Typed, job_of

SHEET, RESULTS = "sheet.png", "results.json"


def run(typed: Typed) -> int:
    """Compare, print and save; returns the exit code."""
    console = Console(stderr=True, quiet=typed.as_json)
    try:
        job = job_of(typed)
        asking, outcomes = asyncio.run(_run(job, console))
        _save_and_tell(job, asking, outcomes, console)
        return exit_code(outcomes)
    except VisualMeshError as error:
        if typed.as_json:
            sys.stdout.write(json.dumps({"error": failures.as_json(error)}, indent=2) + "\n")
        else:
            failures.print_error(console, error)
        return failures.exit_code(error)
    except OSError as error:
        console.print(f"[red]cannot write[/] {escape(str(error))}")
        return 1


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 when every model made every picture, the first failure's own code when none was made, else 1."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not errors:
        return 0
    return failures.exit_code(errors[0]) if len(errors) == len(outcomes) else 1


async def _run(job: Job, console: Console) -> tuple[Asking, list[Outcome]]:
    with Board(console) as board:
        board.note("looking for a mesh")
        async with mesh.find_or_start(job.address, job.home, board.note) as (address, started):
            async with VisualClient(address, timeout=job.timeout) as client:
                asking = await _complete(job.asking, client)
                outcomes: list[Outcome] = []
                for prompt in job.prompts:
                    outcomes += await drawing.compare(client, prompt, asking, board, job.output)
                    _end_early(outcomes, job)
            board.note("stopping the mesh" if started else "closing")
    return asking, outcomes


async def _complete(asking: Asking, client: VisualClient) -> Asking:
    if asking.models:
        return asking
    paid = bool(asking.max_cost_usd)  # nobody is made to pay for a comparison without having said how much
    return replace(asking, models=await drawing.models_that_work(client, paid=paid))


def _end_early(outcomes: Sequence[Outcome], job: Job) -> None:
    """Raise what every model was refused for, when it was the very first prompt: the next ones fare no better."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len({outcome.prompt for outcome in outcomes}) > 1 or len(errors) < len(outcomes):
        return
    if all(error is errors[0] for error in errors):
        raise errors[0]


def _save_and_tell(job: Job, asking: Asking, outcomes: list[Outcome], console: Console) -> None:
    job.output.mkdir(parents=True, exist_ok=True)
    by_place = {(outcome.prompt, outcome.model): outcome for outcome in outcomes}
    sheet.draw(job.prompts, asking.models, by_place).save(job.output / SHEET, optimize=True)
    found = figures.summaries(outcomes)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    told = report.as_json(job.prompts, outcomes, found, asking, machine(), now)
    written = json.dumps(told, indent=2) + "\n"
    (job.output / RESULTS).write_text(written)
    if job.as_json:
        sys.stdout.write(written)
        return
    out = model_table.console()
    narrow = model_table.is_narrow(out)
    one = len(job.prompts) == 1
    out.print(report.of_one_prompt(outcomes, narrow=narrow) if one else report.of_many(found))
    for line in report.failures_of(outcomes):
        out.print(line, soft_wrap=True)
    out.print(f"\n{escape(str(job.output / SHEET))}\n{escape(str(job.output / RESULTS))}", soft_wrap=True)
