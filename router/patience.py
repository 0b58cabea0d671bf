"""How long a run's backend was waited for, the time that its reader took apart, and what came of it."""

import asyncio

from router.backends.protocol import BackendEvent, Loaded, Output, Stored


class Patience:
    """The wait for one run, which begins with it; it belongs to the event loop."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()
        self._waited = 0.0
        self.loading = 0.0
        self.drew = False

    @property
    def seconds(self) -> float:
        """How long it was waited for until now, a load apart; to be asked while it is waited for."""
        return self._waited + self._clock() - self._since - self.loading

    def hear(self, event: BackendEvent) -> None:
        """Take in an event: nobody waits for the backend until `resume`."""
        self._waited += self._clock() - self._since
        self.drew = self.drew or isinstance(event, Output | Stored)
        if isinstance(event, Loaded):
            self.loading = event.seconds

    def resume(self) -> None:
        """Wait for the next event."""
        self._since = self._clock()
