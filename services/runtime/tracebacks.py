"""Tracebacks as logs may hold them: which exceptions, raised where, and not what they say.

A library's exception may quote what it was given (`could not convert string to float: '...'`), and that may be a prompt.
The mesh's own errors may quote what their caller wrote, such as the name of a style; of them the reason is told.
"""

import logging
import traceback
from types import TracebackType
from typing import Any

import structlog

OWN = "MeshError"  # whose text begins with its reason
WITHHELD = "(its text is not logged)"

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_transform = structlog.tracebacks.ExceptionDictTransformer(
    show_locals=False
)  # local variables hold prompts, too


def as_dicts(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Return an exception and its causes for a log in JSON, each with its frames."""
    stacks = _transform(exc_info)
    _withhold(stacks)
    return stacks


def let_go(error: BaseException | None) -> None:
    """Cut an error and its causes off from the frames that they came through, once they have been told.

    Frames hold what was worked on, a picture of 200 MB for one. Contextlib's exit stack makes a cycle of every error that
    is raised in place of another, and would keep both until the collector comes by.
    """
    seen = set[int]()  # who raises one error from another may make a ring of them
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        where = error.__traceback__
        while where is not None:
            where.tb_next, where = None, where.tb_next
        error = error.__cause__ or error.__context__


def _withhold(stacks: list[dict[str, Any]]) -> None:
    for stack in stacks:
        reason = stack["exc_value"].partition(":")[0] if stack["exc_type"] == OWN else WITHHELD
        stack.update(exc_value=reason, exc_notes=[], syntax_error=None)
        for group in stack.get("exceptions", ()):
            _withhold(group)


class LineFormatter(logging.Formatter):
    """Formats what libraries log: the first line of the message, and of an exception its kind and where it was raised."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the first line: asyncio tells on the next one what a task that nobody waited for has raised."""
        return record.message.partition("\n")[0]

    def formatException(self, ei: Any) -> str:
        """Return the frames and the kind."""
        kind, _, where = ei
        return "".join((*traceback.format_tb(where), f"{kind.__name__} {WITHHELD}"))
