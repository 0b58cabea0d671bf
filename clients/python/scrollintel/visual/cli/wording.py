"""What each event says in the terminal: a label and a line."""

from collections.abc import Callable
from typing import Any

from rich.markup import escape

from scrollintel.visual.events import (
    Candidate,
    Checked,
    Completed,
    Decision,
    Event,
    Failed,
    Fallback,
    Judged,
    Output,
    PromptEnhanced,
    Queued,
    Routed,
    Scored,
    Stage,
    Step,
)
from scrollintel.visual.quality import DETAILS, Quality

DOING = {
    Stage.DRAW: "drawing",
    Stage.UPSCALE: "enlarging",
    Stage.CHECK: "checking",
    Stage.SCORE: "scoring",
    Stage.STORE: "storing",
    Stage.LOAD: "loading the model",
    Stage.DENOISE: "denoising",
    Stage.DEBLUR: "deblurring",
    Stage.RESTORE_FACES: "restoring faces",
}
AFTER: dict[type[Event] | Stage, str] = {
    Queued: "checking",
    Checked: "planning",
    PromptEnhanced: "checking",
    Routed: "drawing",
    Stage.DRAW: "enlarging",
    Stage.UPSCALE: "checking",
    Stage.CHECK: "scoring",
    Stage.SCORE: "storing",
    Stage.STORE: "storing",
}
"""What is waited for after an event, or after the last step of a stage."""

FOLLOWS = {
    Decision.ACCEPT: "accepted",
    Decision.REGENERATE: "drawn again",
    Decision.ESCALATE: "drawn by a better model",
    Decision.GIVE_UP: "not drawn again",
}
"""What follows from a decision; of others nothing is said."""

DONE = {
    Stage.DRAW: ("drawn", "step"),
    Stage.UPSCALE: ("enlarged", "picture"),
    Stage.CHECK: ("inspected", "picture"),
    Stage.STORE: ("stored", "picture"),
}
"""What a finished stage is called and what it counts; scores speak for themselves."""


def line(event: Event) -> tuple[str, str] | None:
    """Return an event's label and text in rich markup, or None when it has no line of its own."""
    say = SAYINGS.get(type(event))
    return say(event) if say else None


def waiting(event: Event) -> str | None:
    """Return what is waited for after an event, or None when it does not change that."""
    if isinstance(event, Step):
        return (AFTER if event.k >= event.n else DOING).get(event.stage)
    if isinstance(event, Queued) and event.position:
        return "waiting"
    if isinstance(event, Judged):
        again = event.decision in (Decision.REGENERATE, Decision.ESCALATE)
        return "drawing again" if again else "signing"
    return AFTER.get(type(event))


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 step` or `4 steps`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def scores(quality: Quality) -> str:
    """Return every measured score but the details as `name 0.71`, separated."""
    return " · ".join(
        f"{name.replace('_', ' ')} [bold]{score.value:.2f}[/]"
        for name, score in quality.measured()
        if name not in DETAILS
    )


def _queued(event: Queued) -> tuple[str, str]:
    if not event.position:
        return "queued", "starts at once"
    return "queued", f"position {event.position}, starts in about {event.eta:.1f} s"


def _checked(event: Checked) -> tuple[str, str]:
    findings = ", ".join(f"{f.category} (severity {f.severity}, {f.action})" for f in event.findings)
    return "checked", f"{findings or 'nothing found'} [dim]policy {escape(event.policy_version)}[/]"


def _enhanced(event: PromptEnhanced) -> tuple[str, str]:
    style = f" [dim]style {escape(event.style)}[/]" if event.style else ""
    without = f"\n[dim]without[/] {escape(event.negative_prompt)}" if event.negative_prompt else ""
    return "enhanced", f"{escape(event.enhanced)}{style}{without}"


def _routed(event: Routed) -> tuple[str, str]:
    chosen = event.chosen
    head = (
        f"[bold]{escape(chosen.backend)}[/] score {chosen.score:.2f}, about {chosen.predicted_seconds:.1f} s"
    )
    reasons = [f"[dim]because[/] {escape(reason)}" for reason in event.reasons]
    others = [f"[dim]passed over[/] {_passed_over(candidate)}" for candidate in event.runners_up]
    return "routed", "\n".join([head, *reasons, *others])


def _passed_over(candidate: Candidate) -> str:
    return f"{escape(candidate.backend)}: {escape(candidate.refusal) or f'score {candidate.score:.2f}'}"


def _step(event: Step) -> tuple[str, str] | None:
    if event.k < event.n or event.stage not in DONE:
        return None
    label, noun = DONE[event.stage]
    return label, counted(event.n, noun)


def _fallback(event: Fallback) -> tuple[str, str]:
    return (
        "fell back",
        f"{escape(event.failed)} → [bold]{escape(event.chosen)}[/] [dim]because[/] {escape(event.reason)}",
    )


def _output(event: Output) -> tuple[str, str]:
    seed = "" if event.seed is None else f", seed {event.seed}"
    return "picture", f"{event.media.width} × {event.media.height}{seed}"


def _scored(event: Scored) -> tuple[str, str]:
    return "scored", scores(event.quality) or "[dim]nothing could be measured[/]"


def _judged(event: Judged) -> tuple[str, str]:
    follows = FOLLOWS.get(event.decision, "")
    metric = event.metric.replace("_", " ")
    at = f"picture {event.index + 1}, attempt {event.attempt}"
    best = f", attempt {event.delivered} is delivered" if event.delivered not in (0, event.attempt) else ""
    return "judged", f"[bold]{follows}[/]{best}: {metric}, {escape(event.reason)} [dim]{at}[/]"


def _completed(event: Completed) -> tuple[str, str]:
    result = event.result
    cost = f", ${result.cost_usd:.4f}" if result.cost_usd else ""
    missing = f", [yellow]{counted(len(result.errors), 'picture')} missing[/]" if result.errors else ""
    made = counted(len(result.assets), "picture")
    by = f"{made} by {escape(result.model_used)} in [bold]{result.seconds:.2f} s[/]"
    return "done", f"{by}{cost}{missing} [dim]{escape(result.id)}[/]"


def _failed(event: Failed) -> tuple[str, str]:
    return (
        "cancelled" if event.error.code == "CANCELLED" else "failed"
    ), f"[red]{escape(event.error.message)}[/]"


SAYINGS: dict[type[Event], Callable[[Any], tuple[str, str] | None]] = {
    Queued: _queued,
    Checked: _checked,
    PromptEnhanced: _enhanced,
    Routed: _routed,
    Step: _step,
    Fallback: _fallback,
    Output: _output,
    Scored: _scored,
    Judged: _judged,
    Completed: _completed,
    Failed: _failed,
}
