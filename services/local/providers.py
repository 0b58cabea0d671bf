"""`vmesh providers`: the models of paid providers, which can be called here, what they cost and which end soon."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.text import Text

from router.configuration import ConfigurationError
from router.entries import BackendEntry
from router.price import Price
from router.providers import missing, read_providers, standing
from router.settings import ProviderSettings
from router.snapshot import State
from services.local import model_table

SOON_DAYS = 90
"""A model that ends within so many days is shown in red: its callers have to move."""
DAYS_COLUMNS = 90
"""Below this a date goes without the days that are left."""
CONFIGURED, MISSING, NEEDS_PRICE, SHUT_DOWN = "configured", "missing", "needs a price", "shut down"
COLOURS = {CONFIGURED: "green", MISSING: "yellow", NEEDS_PRICE: "magenta", SHUT_DOWN: "bright_black"}


@dataclass(frozen=True)
class Row:
    """A model as it is listed; `state` in words, prices in US dollars per `unit`, None where nobody said.

    `missing` names the variables of the environment that it needs and has not; `days_left` is None without an end.
    """

    name: str
    provider_model: str
    modality: str
    state: str
    missing: list[str]
    unit: str
    least_usd: float | None
    most_usd: float | None
    images: int
    sizes: list[str]
    durations: list[float]
    edits: bool
    concurrency: int
    retires: str | None
    days_left: int | None


def run(*, as_json: bool) -> int:
    """Print every model of every provider, and return the exit code."""
    try:
        rows = list(listed(ProviderSettings(), datetime.now(UTC).date()))
    except ConfigurationError as error:
        model_table.console(stderr=True).print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return 1
    if as_json:
        sys.stdout.write(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    else:
        show(model_table.console(), rows)
    return 0


def listed(settings: ProviderSettings, today: date) -> Iterator[Row]:
    """Yield every model as it stands on a day, in the order of the file. Raises ConfigurationError."""
    for provider in read_providers(settings.providers_file):
        absent = missing(provider, settings)
        for entry in provider.models:
            yield _row(entry, absent, today)


def show(console: Console, rows: list[Row]) -> None:
    """Print the table, and below it what has to be set for those that lack something."""
    narrow = model_table.is_narrow(console)
    table = model_table.table("model", "state", "price", *(() if narrow else ("limits",)), "ends")
    for column in table.columns:
        column.no_wrap = True  # a date or a price in two lines is read as two
    for row in rows:
        cells = row.name, f"[{COLOURS[row.state]}]{row.state}[/]", _price(row)
        style = COLOURS[SHUT_DOWN] if row.state == SHUT_DOWN else ""
        end = _end(row, days=console.width >= DAYS_COLUMNS)
        table.add_row(*cells, *(() if narrow else (_limits(row),)), end, style=style)
    # A terminal that is narrower yet breaks the lines itself: cut off, a price would read as another one.
    whole = console.options.update(max_width=model_table.PIPE_COLUMNS)
    console.width = max(console.width, Measurement.get(console, whole, table).maximum)
    console.print(table)
    if absent := sorted({name for row in rows for name in row.missing if row.state != SHUT_DOWN}):
        console.print("\n[dim]to configure, set[/]")
        for name in absent:
            console.print(f"  {name}", highlight=False)
    if any(row.state == NEEDS_PRICE for row in rows):
        told = "prices nobody published: write them into a copy of router/providers.yaml, and set"
        console.print(f"\n[dim]{told}[/]\n  VMESH_ROUTER_PROVIDERS_FILE", soft_wrap=True, highlight=False)


def _row(entry: BackendEntry, absent: list[str], today: date) -> Row:
    price = entry.pricing()
    least, most = price.range() if price.known else (None, None)
    return Row(
        name=entry.name,
        provider_model=entry.provider_model,
        modality=entry.modality,
        state=_state(entry, absent, price, today),
        missing=absent,
        unit=price.unit,
        least_usd=least,
        most_usd=most,
        images=entry.limits.images,
        sizes=[f"{size.width}x{size.height}" for size in entry.sizes],
        durations=list(entry.durations),
        edits=entry.edits,
        concurrency=entry.concurrency,
        retires=entry.retires.isoformat() if entry.retires else None,
        days_left=(entry.retires - today).days if entry.retires else None,
    )


def _state(entry: BackendEntry, absent: list[str], price: Price, today: date) -> str:
    match standing(entry, not absent, today):
        case State.RETIRED:
            return SHUT_DOWN
        case State.READY:
            return CONFIGURED
        case _:
            return MISSING if price.known else NEEDS_PRICE


def _price(row: Row) -> str:
    if row.least_usd is None or row.most_usd is None:
        return "unknown"
    span = _usd(row.least_usd) + ("" if row.least_usd == row.most_usd else f"–{_usd(row.most_usd)}")
    return f"${span}/{row.unit}"


def _usd(amount: float) -> str:
    """Return dollars with their cents, and with smaller parts where there are any."""
    whole, _, cents = f"{amount:.4f}".rstrip("0").partition(".")
    return f"{whole}.{cents:0<2}"


def _limits(row: Row) -> str:
    length = f"{row.durations[0]:g} to {row.durations[-1]:g} s" if len(row.durations) > 1 else ""
    one_length = f"{row.durations[0]:g} s" if len(row.durations) == 1 else ""
    count = "" if row.durations else f"{row.images} image{'s' * (row.images > 1)}"
    sizes = f"{len(row.sizes)} size{'s' * (len(row.sizes) > 1)}"
    edits = "edits" if row.edits else ""
    return ", ".join(filter(None, (length or one_length or count, sizes, edits)))


def _end(row: Row, *, days: bool) -> Text | str:
    if row.retires is None or row.days_left is None:
        return ""
    if row.state == SHUT_DOWN:
        return row.retires
    left = f", in {row.days_left} day{'s' * (row.days_left != 1)}" if days else ""
    told = f"{row.retires}{left}"
    return Text(told, style="red" if row.days_left < SOON_DAYS else "")
