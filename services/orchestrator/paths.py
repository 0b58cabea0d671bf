"""Names fields as the caller of a generation knows them: each server names those of its own request."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.runtime.errors import MeshError


@contextmanager
def told_as(theirs: str, callers: str) -> Iterator[None]:
    """Let every error of the body name fields that start with `theirs` (`image.`) as `callers` (`spec.image.`)."""
    try:
        yield
    except MeshError as error:
        field = _renamed(error.field, theirs, callers)
        if error.field and error.message.startswith(error.field):
            error.message = field + error.message.removeprefix(error.field)
        error.violations = [(_renamed(name, theirs, callers), rule) for name, rule in error.violations]
        error.field = field
        raise


def _renamed(field: str, theirs: str, callers: str) -> str:
    return callers + field.removeprefix(theirs) if field and field.startswith(theirs) else field
