"""Personal data in prompts: how bad it is, and what the policy takes out."""

from services.safety.category import Action, Category
from services.safety.personal import SEVERITIES, read
from services.safety.policy import Policy, strongest
from services.safety.privacy.found import Kind
from services.safety.privacy.recogniserbook import load
from services.safety.privacy.redactor import Redactor
from services.safety.rulebook import read as read_data

TEXT = "a card for Mrs Hoffmann, anna.hoffmann@example.org, card 4111 1111 1111 1111"
REDACTOR = Redactor(load())


def policy(**ladder: int) -> Policy:
    data = read_data("policy.yaml")
    return Policy.parse({**data, "thresholds": {**data["thresholds"], "personal_data": ladder}})


def test_every_kind_has_a_severity_that_can_be_redacted() -> None:
    assert set(SEVERITIES) == set(Kind)
    assert all(1 <= severity <= 6 for severity in SEVERITIES.values())


def test_what_reaches_the_threshold_is_taken_out_and_the_rest_stays() -> None:
    personal = read([TEXT, "not at +49 30 901820"], REDACTOR, policy(flag=2, redact=4))
    assert personal.texts == [
        "a card for Mrs Hoffmann, <EMAIL_1>, card <CARD_1>",
        "not at <PHONE_1>",
    ]
    (check,) = personal.checks
    assert check.checker == REDACTOR.recognisers.checker
    assert {signal.evidence for signal in check.signals or ()} == {
        "kind NAME", "kind EMAIL", "kind CARD", "kind PHONE",
    }  # fmt: skip
    assert {signal.category for signal in check.signals or ()} == {Category.PERSONAL_DATA}


def test_what_is_flagged_or_blocked_stays_in_the_text() -> None:
    for ladder, action in (({"flag": 1}, Action.FLAG), ({"block": 6}, Action.BLOCK)):
        given = policy(**ladder)
        personal = read([TEXT], REDACTOR, given)
        assert personal.texts == [TEXT]
        assert strongest(given.judge(personal.checks[0].signals or ())) is action


def test_a_redacted_text_has_nothing_left_to_redact() -> None:
    given = policy(redact=1)
    (once,) = read([TEXT], REDACTOR, given).texts
    again = read([once], REDACTOR, given)
    assert again.texts == [once]
    assert again.checks[0].signals == []
