"""Small, quick work, and what is the same of every generation."""

import itertools
from typing import Any

from scrollintel.visual import (
    Checked,
    Completed,
    Event,
    Failed,
    Output,
    PromptEnhanced,
    Queued,
    Routed,
    Scored,
    Stage,
    Step,
)

QUICK: dict[str, Any] = {"steps": 4, "width": 256, "height": 256}
LONG: dict[str, Any] = {"steps": 100, "width": 256, "height": 256}
"""Seconds of drawing, for what is to be stopped."""

HEAD = [Queued, Checked, PromptEnhanced, Routed, Step, Output, Scored, Completed]


def draw_steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step) and event.stage is Stage.DRAW]


def assert_sound(events: list[Event]) -> None:
    """Check what the contract promises of every stream: numbers without gaps, one terminal event, at the end."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.generation_id for event in events}) == 1
    assert [isinstance(event, Completed | Failed) for event in events] == [False] * (len(events) - 1) + [True]
    assert all(one.time <= other.time for one, other in itertools.pairwise(events))
