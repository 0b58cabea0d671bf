"""An enhancement as it happens: which of its operations is under way, and a line for each that has ended."""

import time
from collections.abc import Sequence

from rich.markup import escape

from scrollintel.visual.cli import wording
from scrollintel.visual.cli.timeline import Timeline
from scrollintel.visual.events import Event, Queued, Stage, Step
from scrollintel.visual.operations import Deblur, Denoise, Operation, RestoreFaces, Upscale

STAGES: dict[type[Operation], Stage] = {
    Denoise: Stage.DENOISE,
    Deblur: Stage.DEBLUR,
    Upscale: Stage.UPSCALE,
    RestoreFaces: Stage.RESTORE_FACES,
}
DONE = {
    Stage.DENOISE: "denoised",
    Stage.DEBLUR: "deblurred",
    Stage.UPSCALE: "enlarged",
    Stage.RESTORE_FACES: "faces",
}


class Progress:
    """Which operation is under way; each ends with a step whose k is its n."""

    def __init__(self, operations: Sequence[Operation], timeline: Timeline, began: float) -> None:
        self._operations = operations
        self._timeline = timeline
        self._began = began
        self._ended = 0
        timeline.note("waiting")

    def hear(self, event: Event) -> None:
        """Take in an event of the enhancement."""
        match event:
            case Queued(position=0):
                self._under_way(0)
            case Queued(position=position, eta=eta):
                self._timeline.note(f"waiting: position {position}, about {eta:.0f} s")
            case Step(stage=stage) if stage in DONE and self._ended < len(self._operations):
                self._step(event)
            case Step(stage=stage):
                self._timeline.note(wording.AFTER.get(stage, "working"))

    def _step(self, step: Step) -> None:
        if step.k < step.n:
            self._under_way(step.k / step.n)
            return
        operation = self._operations[self._ended]
        said = _said(operation) + (f" [dim]{escape(step.note)}[/]" if step.note else "")
        self._timeline.line(time.monotonic() - self._began, DONE[step.stage], said)
        self._ended += 1
        self._under_way(0)

    def _under_way(self, share: float) -> None:
        if self._ended == len(self._operations):
            self._timeline.note(wording.AFTER[Stage.UPSCALE])
            return
        self._timeline.note(wording.DOING[STAGES[type(self._operations[self._ended])]])
        self._timeline.progress(self._ended + share, len(self._operations))


def _said(operation: Operation) -> str:
    match operation:
        case Upscale(factor=factor, variant=variant):
            return f"× {factor} by [bold]{escape(variant)}[/]"
        case RestoreFaces(fidelity=fidelity):
            return f"fidelity {fidelity:g}"
        case _:
            return ""
