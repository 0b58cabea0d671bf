"""Who asks, carried along every hop of a call."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

TENANT_KEY = "x-vmesh-tenant"
REQUEST_KEY = "x-vmesh-request-id"
LOCAL_TENANT = "local"


@dataclass(frozen=True)
class Identity:
    """The tenant that asks and the id of its request; the id is empty where there is none."""

    tenant: str = LOCAL_TENANT
    request_id: str = ""

    def metadata(self) -> list[tuple[str, str]]:
        """Return the identity as call metadata."""
        pairs = ((TENANT_KEY, self.tenant), (REQUEST_KEY, self.request_id))
        return [(key, value) for key, value in pairs if value]

    @classmethod
    def of(cls, metadata: Sequence[tuple[str, str | bytes]]) -> "Identity":
        """Read an identity from a call's metadata; what is missing takes its default."""
        values = {key: value for key, value in metadata if isinstance(value, str)}
        return cls(values.get(TENANT_KEY, LOCAL_TENANT), values.get(REQUEST_KEY, ""))


_identity: ContextVar[Identity] = ContextVar("identity", default=Identity())


def current() -> Identity:
    """Return who asks."""
    return _identity.get()


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Let the code inside act for `identity`."""
    token = _identity.set(identity)
    try:
        yield
    finally:
        _identity.reset(token)
