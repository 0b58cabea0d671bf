"""What the labels of a picture classifier mean: a category, and severities by probability. Read from the policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.safety.category import JUDGED, Category
from services.safety.nsfw import Scale
from services.safety.policy import PolicyError


@dataclass(frozen=True)
class Meaning:
    """The category that a label speaks of, and how bad each probability is."""

    category: Category
    scale: Scale


def parse_labels(key: str, given: Any) -> dict[str, Meaning]:
    """Read `{label: {category, severities: [{probability, severity}, ...]}}`; raises PolicyError naming the entry."""
    if not isinstance(given, dict):
        raise PolicyError((key,), "must be a mapping of labels")
    meanings: dict[str, Meaning] = {}
    for label, entry in given.items():
        name = str(label).casefold()
        if name in meanings:  # one of them would hold, and nobody could tell which
            raise PolicyError((key, str(label)), "is given twice; labels are the same in capitals")
        meanings[name] = _meaning((key, str(label)), entry)
    return meanings


def _meaning(path: tuple[str, str], entry: Any) -> Meaning:
    if not isinstance(entry, Mapping) or set(entry) != {"category", "severities"}:
        raise PolicyError(path, "must have category and severities, and nothing else")
    if entry["category"] not in JUDGED:
        raise PolicyError((*path, "category"), f"must be one of {', '.join(JUDGED)}")
    category = Category(entry["category"])
    try:
        return Meaning(category, Scale.parse(entry["severities"]))
    except (ValueError, TypeError, KeyError) as error:
        raise PolicyError(
            (*path, "severities"), f"must be pairs of probability and severity ({error})"
        ) from error
