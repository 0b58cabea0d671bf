"""What follows a failed run: the same backend again, another one, or the error to the caller.

A table says it by the reason of the failure. Once a picture was told, nothing follows: it would be made twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from router.breaker import Fault
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

MOST_AGAIN = 2  # how often the same backend is asked again for one request
SHORT_WAIT = 1.0  # seconds; who advises less is waited for though others are free: they were second best
LONGEST_WAIT = 10.0  # seconds; beyond it the caller is told the advice and decides for himself


class Next(Enum):
    """Which backends may go on with a request whose run failed."""

    NOBODY = "nobody"  # another one would only repeat it
    UNPAID = "unpaid"  # the failed run may have been charged, and nobody shall pay twice
    ANYBODY = "anybody"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a reason means: who may go on, whether it says that nothing ran, and what it says of the backend.

    `nothing_ran` holds only where no event of the run was told, and allows the same backend to be asked again.
    """

    next: Next
    nothing_ran: bool = False
    fault: Fault | None = None


FINAL = Recovery(Next.NOBODY)

RECOVERIES: Mapping[ErrorReason.ValueType, Recovery] = {
    # It died with the request in it, or cannot be reached: nobody knows which, so it is not asked again.
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE: Recovery(Next.ANYBODY, fault=Fault.AWAY),
    errors_pb2.ERROR_REASON_MODEL_FAILED: Recovery(Next.ANYBODY, fault=Fault.FAILED),
    errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS: Recovery(Next.ANYBODY),
    # Refused at the door of the model, of its memory or of its provider. Full is not sick: its advice is obeyed, and a
    # provider's limit shows in its probes.
    errors_pb2.ERROR_REASON_OVERLOADED: Recovery(Next.ANYBODY, nothing_ran=True),
    # A server that it needs to begin, such as the one that loads models.
    errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE: Recovery(Next.ANYBODY, nothing_ran=True),
    # About the size of this request: a smaller one fits.
    errors_pb2.ERROR_REASON_OUT_OF_MEMORY: Recovery(Next.ANYBODY),
    errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED: Recovery(Next.ANYBODY),
    # A paid call whose answer was lost.
    errors_pb2.ERROR_REASON_OUTCOME_UNKNOWN: Recovery(Next.UNPAID, fault=Fault.FAILED),
    # The backend's own limit while the caller has time left; what the caller's deadline ends is nobody's fault.
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: Recovery(Next.UNPAID, fault=Fault.FAILED),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that failed: on a paid backend or not, how far it came, and how much time its caller has left.

    `began` says whether the backend had it at all (its queue may have refused it), `told` whether an event of the run was
    told; `left` is in seconds, None without a deadline.
    """

    error: MeshError
    paid: bool
    began: bool
    told: bool
    left: float | None

    @property
    def recovery(self) -> Recovery:
        """What the table says of the reason; nothing helps where the caller's time is up."""
        if self.left is not None and self.left <= 0:
            return FINAL
        return RECOVERIES.get(self.error.reason, FINAL)

    def next(self) -> Next:
        """Return who may go on. What a paid backend began and nobody saw the end of may have been charged."""
        follows = self.recovery.next
        if follows is Next.NOBODY:
            return follows
        if not self.paid:
            return Next.ANYBODY
        vanished = self.told and self.error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        return Next.UNPAID if vanished else follows

    def wait(self, again: int, others: bool) -> float | None:
        """Return the seconds after which the same backend is to be asked again, None when it is not.

        `again` counts how often it was already. Where others can go on it is waited for only shortly.
        """
        if not (self.recovery.nothing_ran and self.began and not self.told and again < MOST_AGAIN):
            return None
        advised = self.error.retry_after
        wait = DEFAULT_RETRY_SECONDS if advised is None else advised
        if wait > (SHORT_WAIT if others else LONGEST_WAIT):
            return None
        return wait if self.left is None or wait < self.left else None
