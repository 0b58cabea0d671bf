"""Who asks, and how much of the mesh one tenant may hold at one time."""

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from services.runtime.identity import LOCAL_TENANT, TENANT_KEY, Identity

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # of a tenant or of a request
RETRY_SECONDS = 1.0


def admitted(claimed: Identity, *, trust_tenant: bool) -> Identity:
    """Return who the mesh takes the caller for.

    Until there are keys everyone is the local tenant, unless what stands in front of the gateway vouches for the
    name. A request without a usable id gets one. Raises MeshError FIELD_INVALID when a trusted name is none.
    """
    request_id = claimed.request_id if NAME.fullmatch(claimed.request_id) else secrets.token_hex(8)
    if not trust_tenant:
        return Identity(LOCAL_TENANT, request_id)
    if not NAME.fullmatch(claimed.tenant):
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID,
            f"metadata {TENANT_KEY} must be 1 to 64 of A-Z a-z 0-9 - _",
            field=TENANT_KEY,
        )
    return Identity(claimed.tenant, request_id)


class TenantRoom:
    """Gives each tenant room for `limit` calls at one time. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._active: Counter[str] = Counter()

    def active(self, tenant: str) -> int:
        """Return how many calls of the tenant are in progress."""
        return self._active.get(tenant, 0)

    @contextmanager
    def held(self, tenant: str) -> Iterator[None]:
        """Hold room for one call while the body runs. Raises MeshError QUOTA_EXHAUSTED when there is none."""
        if self.active(tenant) >= self._limit:
            raise MeshError(
                errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED,
                f"{self._limit} calls of this tenant are in progress, its limit; try again when one has ended",
                retry_after=RETRY_SECONDS,
                estimated_wait=RETRY_SECONDS,
            )
        self._active[tenant] += 1
        try:
            yield
        finally:
            self._active[tenant] -= 1
            if not self._active[tenant]:
                del self._active[tenant]  # a tenant that is not here takes no memory
