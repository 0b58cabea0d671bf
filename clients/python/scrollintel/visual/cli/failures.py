"""Errors as a person reads them: what happened, where, what to do next, and the exit code for scripts."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from scrollintel.visual import exceptions
from scrollintel.visual.exceptions import VisualMeshError

EXIT_CODES: dict[type[VisualMeshError], int] = {
    exceptions.PromptError: 3,
    exceptions.ModelError: 4,
    exceptions.ResourceError: 5,
    exceptions.SafetyError: 6,
    exceptions.NotFoundError: 7,
    exceptions.MeshUnavailableError: 8,
    exceptions.DeadlineExceededError: 9,
    exceptions.NotServedError: 10,
    exceptions.GenerationCancelledError: 130,
}
"""1 is every other failure and 2 a mistake on the command line; 130 is what a shell expects after Ctrl-C."""

TITLES: dict[type[VisualMeshError], str] = {
    exceptions.PromptError: "The request cannot be carried out as it is",
    exceptions.ModelError: "The model cannot answer",
    exceptions.ResourceError: "The mesh is busy",
    exceptions.SafetyError: "Refused by the safety policy",
    exceptions.NotFoundError: "Not found",
    exceptions.MeshUnavailableError: "No mesh",
    exceptions.DeadlineExceededError: "Out of time",
    exceptions.NotServedError: "Not served by this version",
    exceptions.GenerationCancelledError: "Cancelled",
    exceptions.InternalError: "The mesh failed",
}

OPTIONS = {
    "num_images": "-n",
    "negative_prompt": "--negative",
    "guidance_scale": "--guidance",
    "max_cost_usd": "--max-cost",
    "source_image": "--source",
    "model_preference": "--model",
    "enhancement_level": "--enhancement",
    "prompt": "PROMPT",
    "name": "NAME",
    "generation_id": "GENERATION",
    "rating": "RATING",
    "factor": "--upscale",
    "media": "FILE",
    "data": "FILE",
}
"""What the command line calls a field of the request; every other is `--` and the field's name with hyphens."""

WHOLE = frozenset({"spec", "spec.image", "spec.enhancement"})
"""Fields that hold all that is asked: a rule of theirs is about several options and names them itself."""


def exit_code(error: VisualMeshError) -> int:
    """Return the process's exit code for an error."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)


def option_of(field: str) -> str:
    """Return the command line's word for a field's path, such as `--width` for `spec.image.width`; empty for no single one."""
    if field in WHOLE:
        return ""
    name = field.rsplit(".", 1)[-1]
    return OPTIONS.get(name, "--" + name.replace("_", "-")) if name else ""


def print_error(console: Console, error: VisualMeshError) -> None:
    """Print an error as one panel."""
    title = next((TITLES[kind] for kind in type(error).__mro__ if kind in TITLES), "Failed")
    parts = [*_what(error), *(f"[green]→[/] {step}" for step in _next_steps(error))]
    console.print(
        Panel(
            "\n".join(parts),
            title=f"[bold red]{title}[/]",
            subtitle=f"[dim]{escape(error.reason or error.code)}[/]",
            title_align="left",
            subtitle_align="right",
            border_style="red",
        )
    )


def as_json(error: VisualMeshError) -> dict[str, Any]:
    """Return an error for machines; what says nothing about it is left out."""
    told = {
        "reason": error.reason,
        "code": error.code,
        "message": error.message,
        "field": error.field,
        "violations": [{"field": v.field, "description": v.description} for v in error.violations],
        "suggestions": list(error.suggestions),
        "retry_after": error.retry_after,
        "alternative_models": list(error.alternative_models),
        "estimated_wait": error.estimated_wait,
        "queue_position": error.queue_position or None,
        "findings": [
            {"category": f.category, "severity": f.severity, "action": f.action, "checker": f.checker}
            for f in error.findings
        ],
        "policy_link": error.policy_link,
    }
    return {key: value for key, value in told.items() if value not in (None, "", [])}


def _what(error: VisualMeshError) -> list[str]:
    if error.violations:
        return [
            f"[bold]{option_of(v.field) or 'request'}[/] [dim]{escape(v.field)}[/]\n  {escape(v.description)}"
            for v in error.violations
        ]
    found = [
        f"  {f.category}, severity {f.severity} of 7 [dim]{escape(f.checker)}[/]" for f in error.findings
    ]
    return [escape(error.message), *found]


def _next_steps(error: VisualMeshError) -> list[str]:
    steps = []
    if error.suggestions:
        steps.append(
            "did you mean " + " or ".join(f"[bold]{escape(s)}[/]" for s in error.suggestions[:3]) + "?"
        )
    if error.alternative_models:
        steps.append(f"use another model: [bold]--model {escape(error.alternative_models[0])}[/]")
    if error.estimated_wait:
        steps.append(f"the wait would have been about {error.estimated_wait:.0f} s")
    if error.retry_after is not None:
        steps.append(f"try again in {max(1, round(error.retry_after))} s")
    if error.policy_link:
        steps.append(f"read the policy: {escape(error.policy_link)}")
    if isinstance(error, exceptions.DeadlineExceededError):
        steps.append("allow more time with [bold]--timeout[/], or ask for less")
    if isinstance(error, exceptions.MeshUnavailableError) and error.retry_after is None:
        steps.append("start one: [bold]vmesh up[/]; see what is missing: [bold]vmesh doctor[/]")
    if isinstance(error, exceptions.InternalError):
        steps.append("the mesh's log tells more under that trace")
    return steps
