"""Personal data in prompts: findings like any other, and the text without what the policy takes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.safety.category import Action, Category, Signal
from services.safety.policy import Policy
from services.safety.privacy.found import Found, Kind
from services.safety.privacy.pseudonyms import redact
from services.safety.privacy.redactor import Redactor
from services.safety.verdict import Check

# How bad it is that somebody has it: what tells who a person is, what leads to them, what gives access.
SEVERITIES: Mapping[Kind, int] = {
    Kind.NAME: 2,
    Kind.BIRTH_DATE: 3,
    Kind.IP_ADDRESS: 3,
    Kind.ADDRESS: 4,
    Kind.EMAIL: 4,
    Kind.PHONE: 4,
    Kind.PASSPORT: 5,
    Kind.IBAN: 5,
    Kind.CARD: 6,
    Kind.CREDENTIALS: 6,
    Kind.SECRET: 6,
}


@dataclass(frozen=True)
class Personal:
    """What was found in texts, and each of them without what is redacted, in their order."""

    checks: Sequence[Check]
    texts: Sequence[str]


def read(texts: Sequence[str], redactor: Redactor, policy: Policy) -> Personal:
    """Look for personal data in texts. Pseudonyms are numbered from 1 in each."""
    found = [redactor.find(text) for text in texts]
    signals = dict.fromkeys(_signal(one, redactor) for each in found for one in each)
    checks = [
        Check(name, [signal for signal in signals if signal.checker == name]) for name in redactor.checks
    ]
    kept = [
        redact(text, [one for one in each if _action(one, policy) is Action.REDACT]).text
        for text, each in zip(texts, found, strict=True)
    ]
    return Personal(checks, kept)


def _signal(one: Found, redactor: Redactor) -> Signal:
    marked = redactor.names is not None and one.recogniser == redactor.recognisers.marked.name
    checker = redactor.checks[-1] if marked else redactor.checks[0]
    return Signal(Category.PERSONAL_DATA, SEVERITIES[one.kind], checker, f"kind {one.kind}")


def _action(one: Found, policy: Policy) -> Action:
    return policy.action(Category.PERSONAL_DATA, SEVERITIES[one.kind])
