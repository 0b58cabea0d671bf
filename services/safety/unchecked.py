"""What keeps a check from running, told as SAFETY_UNCHECKED: it is no pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from scrollintel.visual.v1 import errors_pb2
from services.runtime.deadline import MARGIN_SECONDS, remaining
from services.runtime.errors import MeshError

RETRY_SECONDS = 1.0

# The picture's own faults: the caller can mend them, and they are no pass either.
OF_THE_MEDIA = frozenset(
    {
        errors_pb2.ERROR_REASON_NOT_FOUND,
        errors_pb2.ERROR_REASON_MEDIA_INVALID,
        errors_pb2.ERROR_REASON_FIELD_INVALID,
    }
)

log = structlog.get_logger()


@contextmanager
def checking(what: str, by: str = "") -> Iterator[None]:
    """Turn whatever keeps a check from running into SAFETY_UNCHECKED; `what` names what was to be checked.

    `by` names the checker, where there are several. A caller's own deadline is told as it is, and so are faults of the
    media, unless it is a checker that tells of them: it is shown what could be read.
    """
    try:
        yield
    except MeshError as error:
        if error.reason == errors_pb2.ERROR_REASON_SAFETY_UNCHECKED or (
            error.reason in OF_THE_MEDIA and not by
        ):
            raise
        if error.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED and _caller_is_late():
            raise
        log.warning("not checked", what=what, by=by, cause=str(error))
        raise _unchecked(what, by, error.retry_after) from error
    except Exception as error:  # whatever it was, it is not a pass
        log.exception("not checked", what=what, by=by)
        raise _unchecked(what, by, None) from error


def late(what: str) -> MeshError:
    """Return what is told of a check that has taken too long."""
    log.warning("not checked", what=what, cause="late")
    return _unchecked(what, "", None)


def _caller_is_late() -> bool:
    left = remaining()
    return left is not None and left <= 2 * MARGIN_SECONDS


def _unchecked(what: str, by: str, retry_after: float | None) -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_SAFETY_UNCHECKED,
        f"{what} could not be checked for safety{f' by {by}' if by else ''}, which is no pass; try again",
        retry_after=RETRY_SECONDS if retry_after is None else retry_after,
    )
