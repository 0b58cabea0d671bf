"""The policies of all tenants: a default, and what some of them have instead or besides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.safety.category import JUDGED, WORST, Action, Category
from services.safety.labels import Meaning, parse_labels
from services.safety.normalisation import Disguises
from services.safety.nsfw import Scale
from services.safety.phrases import Phrase
from services.safety.policy import Policy, PolicyError
from services.safety.rule import Rule

KEYS = frozenset(
    {
        "version",
        "link",
        "thresholds",
        "nsfw_severities",
        "nsfwjs_labels",
        "violence_labels",
        "age_labels",
        "terms",
        "exceptions",
        "tenants",
    }
)
OF_A_TENANT = frozenset({"version", "link", "thresholds", "terms", "exceptions"})
MOST_TERMS = 200  # per policy: each is a search in every prompt


@dataclass(frozen=True)
class TenantPolicy:
    """What holds for one tenant: thresholds, terms that it forbids, and phrases that it allows per category."""

    policy: Policy
    terms: Sequence[Rule] = ()
    allowed: Sequence[tuple[Category, Phrase]] = ()


@dataclass(frozen=True)
class PolicyBook:
    """The default and the tenants that have a policy of their own.

    For all of them `scale` reads the scores of pictures, and the last three what labels say alone: those of nsfwjs and of
    operators' classifiers, in lower case.
    """

    default: TenantPolicy
    scale: Scale
    tenants: Mapping[str, TenantPolicy]
    nsfwjs: Mapping[str, Meaning] = field(default_factory=dict)
    violence: Mapping[str, Meaning] = field(default_factory=dict)
    ages: Mapping[str, Meaning] = field(default_factory=dict)

    def of(self, tenant: str) -> TenantPolicy:
        """Return what holds for a tenant."""
        return self.tenants.get(tenant, self.default)

    @classmethod
    def parse(cls, data: Any, disguises: Disguises) -> "PolicyBook":
        """Read a policy file (policy.yaml says how it is written); raises PolicyError naming the entry."""
        _known((), data, KEYS)
        for key in ("version", "link", "thresholds", "nsfw_severities"):
            if key not in data:
                raise PolicyError((), f"no {key}")
        try:
            scale = Scale.parse(data["nsfw_severities"])
        except (ValueError, TypeError, KeyError) as error:
            raise PolicyError(
                ("nsfw_severities",), f"must be pairs of probability and severity ({error})"
            ) from error
        default = _default(data, disguises)
        _check((), default.policy, default.policy, scale)
        tenants = {}
        for name, changes in _mapping(("tenants",), _or_empty(data.get("tenants"), {})).items():
            held = _changed(default, data, str(name), changes, disguises)
            _check(("tenants", str(name)), held.policy, default.policy, scale)
            tenants[str(name)] = held
        labels = [
            parse_labels(key, _or_empty(data.get(key), {}))
            for key in ("nsfwjs_labels", "violence_labels", "age_labels")
        ]
        return cls(default, scale, tenants, *labels)


def _default(data: Mapping[str, Any], disguises: Disguises) -> TenantPolicy:
    return TenantPolicy(
        Policy.parse(data),
        tuple(_terms(("terms",), data.get("terms"), disguises)),
        tuple(_allowed(("exceptions",), data.get("exceptions"), disguises)),
    )


def _changed(
    default: TenantPolicy, data: Mapping[str, Any], name: str, changes: Any, disguises: Disguises
) -> TenantPolicy:
    """Lay a tenant's entries over the default's: thresholds by category, terms and exceptions besides."""
    path = ("tenants", name)
    _known(path, changes, OF_A_TENANT)
    if "version" not in changes:
        raise PolicyError(path, "no version: verdicts name it")
    thresholds = _mapping((*path, "thresholds"), _or_empty(changes.get("thresholds"), {}))
    merged = {
        "version": f"{data['version']}+{name}/{changes['version']}",
        "link": changes.get("link", data["link"]),
        "thresholds": {**data["thresholds"], **thresholds},
    }
    try:
        policy = Policy.parse(merged)
    except PolicyError as error:
        raise PolicyError((*path, *error.path), error.rule) from error
    allowed = list(_allowed((*path, "exceptions"), changes.get("exceptions"), disguises))
    for index, (category, _) in enumerate(allowed):
        if category is Category.MINORS:  # it would do what a threshold above the default's may not
            raise PolicyError(
                (*path, "exceptions", str(index), "category"), "no tenant lifts findings on minors"
            )
    return TenantPolicy(
        policy,
        (*default.terms, *_terms((*path, "terms"), changes.get("terms"), disguises, name)),
        (*default.allowed, *allowed),
    )


def _terms(path: Sequence[str], entries: Any, disguises: Disguises, tenant: str = "") -> Iterator[Rule]:
    """Read `[{term, category, severity}, ...]` as rules that are named by their place in the list, not by the term."""
    for place, entry in _entries(path, entries, {"term", "category", "severity"}):
        category, severity = _category(place, entry), entry["severity"]
        if not isinstance(severity, int) or not 1 <= severity <= WORST:
            raise PolicyError((*place, "severity"), f"must be a whole number from 1 to {WORST}")
        phrase = _phrase((*place, "term"), entry["term"], disguises)
        name = ".".join(filter(None, ("terms", tenant, str(int(place[-1]) + 1))))
        yield Rule(name, category, severity, [phrase.words], None, native=phrase.native)


def _allowed(path: Sequence[str], entries: Any, disguises: Disguises) -> Iterator[tuple[Category, Phrase]]:
    """Read `[{phrase, category}, ...]`."""
    for place, entry in _entries(path, entries, {"phrase", "category"}):
        yield _category(place, entry), _phrase((*place, "phrase"), entry["phrase"], disguises)


def _entries(path: Sequence[str], entries: Any, keys: set[str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the entries of a list, each with its path; raises PolicyError unless each has just these keys."""
    entries = _or_empty(entries, [])
    if not isinstance(entries, list) or len(entries) > MOST_TERMS:
        raise PolicyError(path, f"must be a list of at most {MOST_TERMS} entries")
    for index, entry in enumerate(entries):
        place = (*path, str(index))
        _known(place, entry, frozenset(keys))
        if missing := keys - set(entry):
            raise PolicyError(place, f"no {', '.join(sorted(missing))}")
        yield place, entry


def _phrase(path: Sequence[str], text: Any, disguises: Disguises) -> Phrase:
    if not isinstance(text, str):
        raise PolicyError(path, "must be text; put it in quotes")
    try:
        return Phrase.of(text, disguises)
    except ValueError as error:
        raise PolicyError(path, str(error)) from error


def _or_empty(given: Any, empty: Any) -> Any:
    return empty if given is None else given


def _category(path: Sequence[str], entry: Mapping[str, Any]) -> Category:
    try:
        if (category := Category(entry["category"])) in JUDGED:
            return category
    except ValueError:
        pass
    raise PolicyError((*path, "category"), f"must be one of {', '.join(JUDGED)}")


def _mapping(path: Sequence[str], given: Any) -> Mapping[Any, Any]:
    if not isinstance(given, dict):
        raise PolicyError(path, "must be a mapping")
    return given


def _known(path: Sequence[str], given: Any, keys: frozenset[str]) -> None:
    if unknown := set(_mapping(path, given)) - keys:
        name = str(min(unknown, key=str))
        raise PolicyError((*path, name), f"unknown; known are {', '.join(sorted(keys))}")


def _check(path: Sequence[str], policy: Policy, default: Policy, scale: Scale) -> None:
    """Refuse what can never block, and a tenant's policy on minors that is milder than the default."""
    if policy.action(Category.SEXUAL, scale.worst) is not Action.BLOCK:
        raise PolicyError(
            (*path, "thresholds", "sexual") if path else ("nsfw_severities",),
            "no probability reaches the severity at which sexual content is blocked",
        )
    minors = policy.thresholds[Category.MINORS][Action.BLOCK]
    if minors > default.thresholds[Category.MINORS][Action.BLOCK]:
        raise PolicyError((*path, "thresholds", "minors"), "must not block later than the default does")
