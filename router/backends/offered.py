"""What every adapter of a paid provider begins with: the model's entry, the account, and whether it may be called now."""

from collections.abc import Callable
from datetime import date
from typing import Any, ClassVar, Generic, TypeVar

from router.backends.account import Account, capabilities, utc_today
from router.backends.polling import QUICKLY, Pace
from router.entries import BackendEntry
from router.snapshot import State

AccountOf = TypeVar("AccountOf", bound=Account[Any])


class Offered(Generic[AccountOf]):
    """One model that a provider offers. `pace` says how often a job is looked at, `today` what day it is."""

    pace: ClassVar[Pace] = QUICKLY

    def __init__(
        self,
        entry: BackendEntry,
        account: AccountOf,
        *,
        pace: Pace | None = None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self._entry = entry
        self._account = account
        self._pace = pace or self.pace
        self._today = today
        self.capabilities = capabilities(entry)

    def state(self) -> State:
        """Return whether it may be called; see `Provider.state`."""
        return self._account.state(self._entry, self._today())
