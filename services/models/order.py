"""What is asked of one build beyond what its catalogue entry says, and the entry that this makes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.models.catalogue import CatalogueError
from services.models.entry import Converter, Lora, Model, OperatorSource, Precision
from services.models.operator_weights import Brought

TAKES_LORA = (Converter.DIFFUSERS,)


@dataclass(frozen=True)
class Order:
    """`weights` an operator's directory or file; None, or nothing, is what the entry and the last build say."""

    weights: Path | None = None
    precision: Precision | None = None
    loras: tuple[Lora, ...] = ()
    name: str | None = None


def read_precision(text: str) -> Precision:
    """Read a precision's name. Raises CatalogueError."""
    try:
        return Precision(text)
    except ValueError:
        raise CatalogueError(f"--precision: {text!r} is none of {', '.join(Precision)}") from None


def read_lora(text: str) -> Lora:
    """Read `FILE[:SCALE]`. Raises CatalogueError."""
    path, colon, scale = text.rpartition(":")
    try:
        factor = float(scale) if colon else 1.0
    except ValueError:
        path, factor = text, 1.0  # a colon of the file's own name
    whole = Path(path or text).expanduser().resolve()
    if not whole.is_file():
        raise CatalogueError(f"--lora: {whole} is no file")
    try:
        return Lora(path=str(whole), scale=factor)
    except ValidationError as error:
        raise CatalogueError(f"--lora: {text}: {error.errors()[0]['msg']}") from error


def derive(entry: Model, order: Order, catalogue: Mapping[str, Model], last: Brought | None = None) -> Model:
    """Return the entry that is built: under another name, in another precision, with low-rank changes merged in.

    Without new weights, precision and changes are as in the last build from the operator's, `last`. Raises
    CatalogueError, naming the option and the rule.
    """
    if order.weights and not isinstance(entry.source, OperatorSource):
        raise CatalogueError(
            f"--weights: {entry.name} brings its own ({entry.source.kind}); leave the option out"
        )
    precision, loras = order.precision, order.loras
    if last and order.weights is None:
        precision, loras = precision or last.precision, loras or last.loras
    changes: dict[str, object] = {}
    if precision:
        changes["precisions"] = _first(entry, precision)
    if loras:
        if entry.converter not in TAKES_LORA:
            raise CatalogueError(
                f"--lora: {entry.name} takes none; models of kind {', '.join(TAKES_LORA)} do"
            )
        changes["loras"] = loras
    if order.name and order.name != entry.name:
        changes |= {"name": order.name, "title": f"{entry.title} ({order.name})", "optional": True}
    if not changes:
        return entry
    try:
        model = Model.model_validate(entry.model_dump() | changes)
    except ValidationError as error:
        problem = error.errors()[0]
        raise CatalogueError(f"--{problem['loc'][0]}: {problem['msg']}") from error
    taken = catalogue.get(model.name) if order.name else None
    if taken and taken is not entry and not same_but_for_weights(taken, model):
        raise CatalogueError(
            f"--name: there is another model named {model.name!r}; choose a name that is free"
        )
    return model


def same_but_for_weights(one: Model, other: Model) -> bool:
    """Tell whether two entries differ in nothing but the precision and the changes that are merged in."""
    aside = {"precisions", "loras", "title"}
    return one.model_dump(exclude=aside) == other.model_dump(exclude=aside)


def _first(entry: Model, precision: Precision) -> tuple[Precision, ...]:
    if precision not in entry.precisions:
        known = ", ".join(entry.precisions)
        raise CatalogueError(f"--precision: {entry.name} is built in {known}; not in {precision}")
    return (precision, *(other for other in entry.precisions if other is not precision))
